package synologytest

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"
)

const (
	setDDNS    = "SYNO.Core.DDNS.Record 1 set"
	updateDDNS = "SYNO.Core.DDNS.Record 1 update_ip_address"
	listDDNS   = "SYNO.Core.DDNS.Record 1 list"
	deleteDDNS = "SYNO.Core.DDNS.Record 1 delete"
)

// setting are the parameters of a set.
func setting(hostname, net, ip, ipv6 string) []string {
	return []string{
		"id", `"Synology"`, "enable", "true", "provider", `"Synology"`, "hostname", strconv.Quote(hostname),
		"username", `"owner@example.com"`, "net", strconv.Quote(net), "ip", strconv.Quote(ip),
		"ipv6", strconv.Quote(ipv6), "heartbeat", "true", "passwd", `"Synology"`,
	}
}

func (c *client) wantDDNS(t *testing.T, ipv4, ipv6 string) {
	t.Helper()
	got4, got6 := c.DDNS()
	if got4 != ipv4 || got6 != ipv6 {
		t.Errorf("got %q and %q, want %q and %q", got4, got6, ipv4, ipv6)
	}
}

func TestDDNS(t *testing.T) {
	const hostname = "example.synology.me"
	c, r := loggedIn(t, WithDDNS(hostname))
	c.now = func() time.Time { return time.Date(2026, time.May, 1, 2, 3, 4, 0, time.UTC) }

	c.wantDDNS(t, "203.0.113.7", "2001:db8:7::7")
	c.want(t, "", 0, setDDNS, setting(hostname, "MANUAL_V6", "0.0.0.0", "2001:db8::1")...)
	c.wantDDNS(t, "203.0.113.7", "2001:db8::1")
	c.SetWAN("203.0.113.8", "")
	c.want(t, "", 0, updateDDNS, "id", `"Synology"`)
	c.wantDDNS(t, "203.0.113.8", "2001:db8::1")
	c.want(t, "", 0, setDDNS, setting(hostname, "MANUAL", "0.0.0.0", "2001:0db8:0:0:0:0:0:0b01")...)
	c.wantDDNS(t, "", "2001:db8::b01")
	c.want(t, `{"records":[{"enable":true,"heartbeat":true,"hostname":"example.synology.me","id":"Synology",`+
		`"ip":"0.0.0.0","ipv6":"2001:db8:0:0:0:0:0:b01","lastupdated":"2026-05-01 02:03","net":"MANUAL",`+
		`"provider":"Synology","status":"service_ddns_normal","username":"owner@example.com"}]}`, 0, listDDNS)
	c.want(t, "", 0, setDDNS, setting(hostname, "DEFAULT", "0.0.0.0", "0:0:0:0:0:0:0:0")...)
	c.wantDDNS(t, "203.0.113.8", "")

	c.want(t, `[{"ip":"203.0.113.8","ipv6":"0:0:0:0:0:0:0:0","type":"WAN"}]`, 0, "SYNO.Core.DDNS.ExtIP 2 list")
	c.want(t, `[{"ifname":"eth0","ip":"192.168.1.2","ipv6":["fe80::211:32ff:fe00:1"]}]`, 0, "SYNO.Core.DDNS.Ethernet 1 list")

	c.want(t, "", codeDDNS, deleteDDNS, "id", `["other"]`)
	c.want(t, "", 0, deleteDDNS, "id", `["Synology"]`)
	c.wantDDNS(t, "", "")
	c.want(t, `{"records":[]}`, 0, listDDNS)
	c.want(t, "", codeDDNS, updateDDNS, "id", `"Synology"`)
	c.want(t, "", codeDDNS, setDDNS, setting(hostname, "DEFAULT", "0.0.0.0", "0:0:0:0:0:0:0:0")...)
	equal(t, "errors", r.take())
}

// TestDDNSOthers has records that are not for changing.
func TestDDNSOthers(t *testing.T) {
	c, r := loggedIn(t, WithDDNS("example.synology.me"), WithOtherDDNS("No-IP.com", "example.no-ip.org"))
	c.DisableDDNS()
	data, _ := c.call(t, listDDNS)
	var list struct{ Records []ddnsListed }
	if err := json.Unmarshal([]byte(data), &list); err != nil {
		t.Fatal(err)
	}
	want := []ddnsListed{{"Synology", "example.synology.me", false}, {"No-IP.com", "example.no-ip.org", true}}
	if !slices.Equal(list.Records, want) {
		t.Errorf("got %v, want %v", list.Records, want)
	}
	c.want(t, "", codeDDNS, updateDDNS, "id", `"No-IP.com"`)
	equal(t, "errors", r.take())
}

type ddnsListed struct {
	ID, Hostname string
	Enable       bool
}

// TestDDNSStrict sends what no client should.
func TestDDNSStrict(t *testing.T) {
	const hostname = "example.synology.me"
	c, r := loggedIn(t, WithDDNS(hostname))
	password := setting(hostname, "MANUAL", "203.0.113.9", "2001:db8::1")
	password[len(password)-1] = `"secret"`
	for _, test := range []struct {
		name, call string
		params     []string
	}{
		{"net", setDDNS, setting(hostname, "AUTO", "203.0.113.9", "2001:db8::1")},
		{"no address", setDDNS, setting(hostname, "MANUAL", "", "2001:db8::1")},
		{"zero in short", setDDNS, setting(hostname, "MANUAL", "203.0.113.9", "::")},
		{"IPv4 as IPv6", setDDNS, setting(hostname, "MANUAL", "203.0.113.9", "203.0.113.9")},
		{"another name", setDDNS, setting("other.synology.me", "MANUAL", "203.0.113.9", "2001:db8::1")},
		{"another password", setDDNS, password},
		{"no id", deleteDDNS, []string{"id", "[]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, code := c.call(t, test.call, test.params...); code != codeDDNS {
				t.Errorf("code %d", code)
			}
			if list := r.take(); len(list) != 1 {
				t.Errorf("got errors %q, want one", list)
			}
		})
	}
	c.wantDDNS(t, "203.0.113.7", "2001:db8:7::7")
}
