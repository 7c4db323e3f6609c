package synologytest

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"time"
)

// codeCertificate is what an export of a certificate that does not exist is
// refused with. Unknown: the real code.
const codeCertificate = 5500

// certificate is one that DSM holds, in PEM.
type certificate struct {
	id, desc                    string
	isDefault                   bool
	certPEM, chainPEM, pemOfKey []byte
}

// WithCertificate has DSM hold a certificate.
func WithCertificate(desc string, isDefault bool, certPEM, chainPEM, keyPEM []byte) DSMOption {
	return func(d *DSM) { d.AddCertificate(desc, isDefault, certPEM, chainPEM, keyPEM) }
}

// WithValidTo names the end of a certificate's time valid_to, as older DSMs do,
// instead of valid_till.
func WithValidTo() DSMOption {
	return func(d *DSM) { d.validTo = true }
}

// AddCertificate has DSM hold one more certificate, and returns its id. Neither the
// certificate nor its key need be valid.
func (d *DSM) AddCertificate(desc string, isDefault bool, certPEM, chainPEM, keyPEM []byte) (id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if isDefault {
		for _, other := range d.certificates {
			other.isDefault = false
		}
	}
	c := &certificate{newID(), desc, isDefault, certPEM, chainPEM, keyPEM}
	d.certificates = append(d.certificates, c)
	return c.id
}

// ReplaceCertificate does what a renewal does: other contents in the place of id,
// under a new id or the same. It returns the id.
func (d *DSM) ReplaceCertificate(id string, underNewID bool, certPEM, chainPEM, keyPEM []byte) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.certificate(id)
	if c == nil {
		d.t.Errorf("synologytest: replacing certificate %q, which does not exist", id)
		return ""
	}
	if underNewID {
		c.id = newID()
	}
	c.certPEM, c.chainPEM, c.pemOfKey = certPEM, chainPEM, keyPEM
	return c.id
}

// RemoveCertificate has DSM hold it no longer.
func (d *DSM) RemoveCertificate(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.certificates = slices.DeleteFunc(d.certificates, func(c *certificate) bool { return c.id == id })
}

// CertificateIDs returns those of all certificates, in the order in which they came.
func (d *DSM) CertificateIDs() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []string
	for _, c := range d.certificates {
		ids = append(ids, c.id)
	}
	return ids
}

// newID is one of six letters and digits.
func newID() string { return rand.Text()[:6] }

func (d *DSM) certificate(id string) *certificate {
	for _, c := range d.certificates {
		if c.id == id {
			return c
		}
	}
	return nil
}

var certificateAPIs = map[string]api{
	"SYNO.Core.Certificate.CRT": {min: 1, max: 1, methods: map[string]method{
		"list": {nil, (*DSM).listCertificates},
	}},
	"SYNO.Core.Certificate": {min: 1, max: 1, methods: map[string]method{
		"export": {map[string]kind{"id": isString, "file": isString}, (*DSM).export},
	}},
}

func (d *DSM) listCertificates(*call) (any, *apiError) {
	list := []any{}
	for _, c := range d.certificates {
		list = append(list, c.about(d.validTo))
	}
	return map[string]any{"certificates": list}, nil
}

// about is how a certificate is listed. One that cannot be read is there, too.
func (c *certificate) about(validTo bool) map[string]any {
	about := map[string]any{
		"id": c.id, "desc": c.desc, "is_default": c.isDefault, "is_broken": true,
		"renewable": true, "services": []any{},
	}
	if c.isDefault {
		about["services"] = []any{map[string]any{"display_name": "DSM Desktop Service", "service": "default", "subscriber": "system"}}
	}
	block, _ := pem.Decode(c.certPEM)
	if block == nil {
		return about
	}
	x, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return about
	}
	// Such as "Nov  1 23:59:59 2026 GMT".
	text := func(t time.Time) string { return t.UTC().Format("Jan _2 15:04:05 2006") + " GMT" }
	about["is_broken"] = false
	about["valid_from"] = text(x.NotBefore)
	about["valid_till"] = text(x.NotAfter)
	if validTo {
		about["valid_to"] = about["valid_till"]
		delete(about, "valid_till")
	}
	// Unknown: the values that key_types has.
	about["key_types"] = "ECC"
	if _, ok := x.PublicKey.(*rsa.PublicKey); ok {
		about["key_types"] = "RSA"
	}
	about["issuer"] = person(x.Issuer)
	subject := person(x.Subject)
	subject["sub_alt_name"] = slices.Concat([]string{}, x.DNSNames)
	about["subject"] = subject
	return about
}

func person(name pkix.Name) map[string]any {
	fields := map[string]any{"common_name": name.CommonName}
	if len(name.Country) > 0 {
		fields["country"] = name.Country[0]
	}
	if len(name.Organization) > 0 {
		fields["organization"] = name.Organization[0]
	}
	return fields
}

// export answers with a ZIP of the certificate's files, none of which ends with a
// newline. Unknown: whether there is a chain.pem where there is no chain; here is none.
func (d *DSM) export(c *call) (any, *apiError) {
	if c.text("file") != "archive" {
		return nil, d.mistake(c, codeBadParam, "file is not archive")
	}
	found := d.certificate(c.text("id"))
	if found == nil {
		return nil, &apiError{Code: codeCertificate}
	}
	var buffer bytes.Buffer
	writer := zip.NewWriter(&buffer)
	for _, f := range []struct {
		name string
		text []byte
	}{{"cert.pem", found.certPEM}, {"chain.pem", found.chainPEM}, {"privkey.pem", found.pemOfKey}} {
		if len(f.text) == 0 {
			continue
		}
		w, err := writer.Create(f.name)
		if err == nil {
			_, err = w.Write(bytes.TrimRight(f.text, "\r\n"))
		}
		if err != nil {
			d.t.Errorf("synologytest: making a ZIP: %v", err)
		}
	}
	if err := writer.Close(); err != nil {
		d.t.Errorf("synologytest: making a ZIP: %v", err)
	}
	return archive(buffer.Bytes()), nil
}
