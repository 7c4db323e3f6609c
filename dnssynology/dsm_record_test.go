package dnssynology

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/libdns/libdns"
)

func TestParseListed(t *testing.T) {
	for _, test := range []struct{ item, name, data string }{
		{`{"rr_owner":"example.com.","rr_type":"MX","rr_ttl":"60","rr_info":"10 MX.example.com."}`, "@", "10 mx.example.com."},
		{`{"rr_owner":"WWW.Example.com","rr_type":"a","rr_ttl":60,"rr_info":"192.0.2.1"}`, "www", "192.0.2.1"},
		{`{"rr_owner":"www","rr_type":"CNAME","rr_info":"nas"}`, "www", "nas.example.com."},
		{`{"rr_owner":"@","rr_type":"NS","rr_ttl":"","rr_info":"ns.example.net"}`, "@", "ns.example.net."},
		{`{"rr_owner":"x","rr_type":"PTR","rr_ttl":"60","rr_info":"y.example.com."}`, "x", "y.example.com."},
		{`{"rr_owner":"x","rr_type":"A","rr_ttl":"60","rr_info":"not an address"}`, "x", "not an address"},
		{`{"rr_owner":"x","rr_type":"SRV","rr_ttl":"60","rr_info":"1 2 3 y.example.com."}`, "x", "1 2 3 y.example.com."},
	} {
		r, err := parseListed(json.RawMessage(test.item), "example.com.")
		if err != nil {
			t.Errorf("%s: %v", test.item, err)
			continue
		}
		if rr := r.libdns("example.com.").RR(); rr.Name != test.name || rr.Data != test.data {
			t.Errorf("%s became %+v", test.item, rr)
		}
	}
}

// Whatever libdns hands in, it is one record of its own zone, and in one line.
func FuzzRecord(f *testing.F) {
	f.Add("a", "CNAME", "x y\nz")
	f.Add("_a._b", "SRV", "1 2 3 x.example.net.")
	f.Add("@", "CAA", `0 issue "x"`)
	f.Add("x.example.com.", "TXT", "a\"\n")
	f.Fuzz(func(t *testing.T, name, kind, data string) {
		const zone = "example.com."
		r, err := newZoneRecord(libdns.RR{Name: name, Type: kind, Data: data}, zone)
		if err != nil {
			return
		}
		forms := []string{r.data}
		if r.kind == "TXT" {
			forms = textForms(r.data)
		}
		for _, form := range append(forms, r.owner) {
			if strings.ContainsFunc(form, func(c rune) bool { return c < ' ' }) {
				t.Errorf("%q has control characters", form)
			}
		}
		if r.owner != zone && !strings.HasSuffix(r.owner, "."+zone) {
			t.Errorf("%s is elsewhere", r.owner)
		}
		r.libdns(zone).RR()
	})
}
