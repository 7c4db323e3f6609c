package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/caddyserver/certmagic"
)

// maxClockOff is how much a clock may be off: certificates and the login of some
// DNS providers bear a few minutes.
const maxClockOff = time.Minute

// lookClock compares the clock with that of the authority, whose time decides over
// certificates.
func lookClock(ctx context.Context, p *patient) Finding {
	directory, rootFiles := p.setup.directory()
	where, err := url.Parse(directory)
	if err != nil {
		return unknown("Correct the authority's address (acme_ca) in the config.", err.Error())
	}
	const advice = "Look whether this machine reaches the internet."
	client, err := timelessClient(where.Hostname(), rootFiles)
	if err != nil {
		return unknown("Correct the file of the authority's roots in the config.", err.Error())
	}
	sent := time.Now()
	got, err := get(ctx, client, directory, "", "")
	answered := time.Now()
	if err != nil {
		return unknown(advice, err.Error())
	}
	date, err := serverTime(got.header)
	if err != nil {
		return unknown(advice, where.Host+": "+err.Error())
	}
	return judgeClock(clockOff(sent, answered, date), where.Host)
}

// directory is the address of the authority's directory, and the files of roots
// that are to be trusted there beside the system's. A config without an authority
// on the internet has Let's Encrypt to look at.
func (s *setup) directory() (address string, rootFiles []string) {
	for _, raw := range s.issuers {
		var issuer struct {
			Module    string   `json:"module"`
			CA        string   `json:"ca"`
			RootFiles []string `json:"trusted_roots_pem_files"`
		}
		if err := json.Unmarshal(raw, &issuer); err != nil || issuer.Module != "acme" || issuer.CA == "" {
			continue
		}
		for i := range issuer.RootFiles {
			issuer.RootFiles[i] = replaced(issuer.RootFiles[i])
		}
		return replaced(issuer.CA), issuer.RootFiles
	}
	return certmagic.LetsEncryptProductionCA, nil
}

// timelessClient is a client that verifies a server's certificate as at a time
// when it is valid, whatever the clock says, for that is in doubt.
func timelessClient(host string, rootFiles []string) (*http.Client, error) {
	roots, err := rootsWith(rootFiles)
	if err != nil {
		return nil, err
	}
	return &http.Client{CheckRedirect: noRedirect, Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies it
			VerifyConnection: func(state tls.ConnectionState) error {
				options := x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: x509.NewCertPool()}
				for _, c := range state.PeerCertificates[1:] {
					options.Intermediates.AddCert(c)
				}
				leaf := state.PeerCertificates[0]
				options.CurrentTime = within(leaf, time.Now())
				_, err := leaf.Verify(options)
				return err
			},
		},
	}}, nil
}

// rootsWith are the system's roots and those of PEM files.
func rootsWith(files []string) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", file)
		}
	}
	return roots, nil
}

// serverTime is when a server made an answer, cut to seconds.
func serverTime(header http.Header) (time.Time, error) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return time.Time{}, errors.New("the answer does not say what time it is")
	}
	// A cache tells how old its copy is.
	if age, err := strconv.ParseUint(header.Get("Age"), 10, 31); err == nil {
		date = date.Add(time.Duration(age) * time.Second)
	}
	return date, nil
}

// clockOff is by how much the clock is ahead (or, negative, behind) at the least,
// if a request was sent and answered at these times, and the answer was made
// within the second after date.
func clockOff(sent, answered, date time.Time) time.Duration {
	lowest, highest := sent.Sub(date.Add(time.Second)), answered.Sub(date)
	switch {
	case lowest > 0:
		return lowest
	case highest < 0:
		return highest
	}
	return 0
}

func judgeClock(off time.Duration, host string) Finding {
	direction := "ahead of"
	if off < 0 {
		direction = "behind"
	}
	by := off.Abs().Round(time.Second)
	switch {
	case by > maxClockOff:
		return wrong("Turn on the synchronisation of the time (NTP) in the settings of this machine.",
			fmt.Sprintf("%s %s that of %s", by, direction, host))
	case by == 0:
		return ok("as that of " + host)
	}
	return ok(fmt.Sprintf("%s %s that of %s", by, direction, host))
}
