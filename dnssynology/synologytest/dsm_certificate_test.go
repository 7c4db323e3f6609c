package synologytest

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pair is a certificate and its key in PEM.
func pair(t *testing.T) (certPEM, keyPEM []byte) {
	t.Helper()
	c := selfSigned(t)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestCertificates(t *testing.T) {
	cert, key := pair(t)
	chain, _ := pair(t)
	for _, end := range []string{"valid_till", "valid_to"} {
		options := []DSMOption{WithCertificate("first", true, cert, chain, key), WithCertificate("broken", false, []byte("x"), nil, nil)}
		if end == "valid_to" {
			options = append(options, WithValidTo())
		}
		c, r := loggedIn(t, options...)
		data, _ := c.call(t, "SYNO.Core.Certificate.CRT 1 list")
		var list struct {
			Certificates []map[string]any
		}
		if err := json.Unmarshal([]byte(data), &list); err != nil || len(list.Certificates) != 2 {
			t.Fatalf("%v: %s", err, data)
		}
		first, second := list.Certificates[0], list.Certificates[1]
		if first["desc"] != "first" || first["is_default"] != true || first["is_broken"] != false || second["is_broken"] != true ||
			second["is_default"] != false || first["id"] != c.CertificateIDs()[0] || len(first["id"].(string)) != 6 {
			t.Errorf("got %s", data)
		}
		until, err := time.Parse("Jan _2 15:04:05 2006 MST", first[end].(string))
		if err != nil || until.Before(time.Now().AddDate(0, 11, 0)) {
			t.Errorf("%s %v: %v", end, first[end], err)
		}
		if subject := first["subject"].(map[string]any); subject["common_name"] != "synology" || subject["sub_alt_name"].([]any)[1] != "localhost" {
			t.Errorf("subject %v", subject)
		}
		equal(t, "errors", r.take())
	}
}

func TestExport(t *testing.T) {
	cert, key := pair(t)
	chain, _ := pair(t)
	c, r := loggedIn(t, WithCertificate("", true, cert, chain, key))
	id := c.CertificateIDs()[0]
	trimmed := func(text []byte) string { return strings.TrimSuffix(string(text), "\n") }
	want := map[string]string{"cert.pem": trimmed(cert), "chain.pem": trimmed(chain), "privkey.pem": trimmed(key)}
	if got := c.export(t, strconv.Quote(id)); !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	cert, key = pair(t)
	if same := c.ReplaceCertificate(id, false, cert, nil, key); same != id {
		t.Errorf("the id changed from %s to %s", id, same)
	}
	want = map[string]string{"cert.pem": trimmed(cert), "privkey.pem": trimmed(key)}
	if got := c.export(t, strconv.Quote(id)); !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	renewed := c.ReplaceCertificate(id, true, cert, nil, key)
	c.want(t, "", codeCertificate, "SYNO.Core.Certificate 1 export", "id", strconv.Quote(id), "file", `"archive"`)
	added := c.AddCertificate("second", true, cert, nil, key)
	equal(t, "ids", c.CertificateIDs(), renewed, added)
	c.RemoveCertificate(renewed)
	equal(t, "ids", c.CertificateIDs(), added)
	equal(t, "errors", r.take())

	if _, code := c.call(t, "SYNO.Core.Certificate 1 export", "id", strconv.Quote(added), "file", `"cert"`); code != codeBadParam {
		t.Errorf("code %d", code)
	}
	if list := r.take(); len(list) != 1 {
		t.Errorf("got errors %q, want one", list)
	}
	c.ReplaceCertificate("none", false, cert, nil, key)
	if list := r.take(); len(list) != 1 {
		t.Errorf("got errors %q, want one", list)
	}
}
