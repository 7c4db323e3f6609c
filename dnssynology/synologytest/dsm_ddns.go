package synologytest

import (
	"net/netip"
	"slices"
	"strings"
)

// ddnsID is the id of the record of Synology's own provider, and its name.
const ddnsID = "Synology"

// codeDDNS is what a call about a record that does not exist is refused with.
// Unknown: the real code.
const codeDDNS = 10101

// ddnsRecord is the NAS's name at Synology.
type ddnsRecord struct {
	hostname, username string
	enable, heartbeat  bool
	net                string // which addresses are set by hand
	addresses          addresses
	lastUpdated        string
}

// WithDDNS gives the NAS a name of Synology's, at the addresses that it has on the
// WAN.
func WithDDNS(hostname string) DSMOption {
	return func(d *DSM) {
		d.ddns = &ddnsRecord{
			hostname: hostname, username: "owner@example.com", enable: true, heartbeat: true, net: "DEFAULT",
		}
		d.detect()
	}
}

// WithOtherDDNS gives the NAS a name at another DDNS service than Synology's, whose
// password nobody but DSM has: it is listed, and refuses to be changed.
func WithOtherDDNS(provider, hostname string) DSMOption {
	return func(d *DSM) {
		d.otherDDNS = append(d.otherDDNS, map[string]any{
			"id": provider, "provider": provider, "hostname": hostname, "username": "owner",
			"enable": true, "heartbeat": false, "net": "DEFAULT", "ip": "203.0.113.9", "ipv6": "0:0:0:0:0:0:0:0",
			"status": "service_ddns_normal", "lastupdated": "2026-01-02 03:04",
		})
	}
}

// DisableDDNS switches the NAS's name off, as its owner can.
func (d *DSM) DisableDDNS() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ddns != nil {
		d.ddns.enable = false
	}
}

// DDNS returns the addresses of the NAS's name, empty where it has none.
func (d *DSM) DDNS() (ipv4, ipv6 string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ddns == nil {
		return "", ""
	}
	return d.ddns.addresses.a, d.ddns.addresses.aaaa
}

// SetWAN changes the NAS's addresses, empty for none. A name that follows them
// does so at the next update_ip_address.
func (d *DSM) SetWAN(ipv4, ipv6 string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wan = addresses{a: ipv4, aaaa: ipv6}
}

var ddnsAPIs = map[string]api{
	"SYNO.Core.DDNS.Record": {min: 1, max: 1, methods: map[string]method{
		"list": {nil, (*DSM).listDDNS},
		"set": {map[string]kind{
			"id": isString, "enable": isBool, "provider": isString, "hostname": isString, "username": isString,
			"net": isString, "ip": isString, "ipv6": isString, "heartbeat": isBool, "passwd": isString,
		}, (*DSM).setDDNS},
		"update_ip_address": {map[string]kind{"id": isString}, (*DSM).updateDDNS},
		"delete":            {map[string]kind{"id": isStrings}, (*DSM).deleteDDNS},
	}},
	"SYNO.Core.DDNS.ExtIP": {min: 2, max: 2, methods: map[string]method{
		"list": {nil, (*DSM).listExtIP},
	}},
	"SYNO.Core.DDNS.Ethernet": {min: 1, max: 1, methods: map[string]method{
		"list": {nil, (*DSM).listEthernet},
	}},
}

// shown are addresses as DSM writes them: IPv6 in full, and zero for none.
func (a addresses) shown() (ip, ipv6 string) {
	ip, ipv6 = "0.0.0.0", "0:0:0:0:0:0:0:0"
	if a.a != "" {
		ip = a.a
	}
	if a.aaaa != "" {
		full := strings.Split(netip.MustParseAddr(a.aaaa).StringExpanded(), ":")
		for i, group := range full {
			full[i] = strings.TrimLeft(group[:3], "0") + group[3:]
		}
		ipv6 = strings.Join(full, ":")
	}
	return ip, ipv6
}

func (d *DSM) listDDNS(*call) (any, *apiError) {
	records := []any{}
	if r := d.ddns; r != nil {
		ip, ipv6 := r.addresses.shown()
		records = append(records, map[string]any{
			"id": ddnsID, "provider": ddnsID, "hostname": r.hostname, "username": r.username,
			"enable": r.enable, "heartbeat": r.heartbeat, "net": r.net, "ip": ip, "ipv6": ipv6,
			"status": "service_ddns_normal", "lastupdated": r.lastUpdated,
		})
	}
	for _, other := range d.otherDDNS {
		records = append(records, other)
	}
	return map[string]any{"records": records}, nil
}

// detect gives the record the WAN addresses where they are not set by hand.
// Unknown: that MANUAL_V4 and MANUAL_V6 leave the other family to that.
func (d *DSM) detect() {
	if d.ddns.net != "MANUAL" && d.ddns.net != "MANUAL_V4" {
		d.ddns.addresses.a = d.wan.a
	}
	if d.ddns.net != "MANUAL" && d.ddns.net != "MANUAL_V6" {
		d.ddns.addresses.aaaa = d.wan.aaaa
	}
	d.ddns.lastUpdated = d.now().UTC().Format("2006-01-02 15:04")
}

func (d *DSM) setDDNS(c *call) (any, *apiError) {
	if failure := d.wantDDNS(c.text("id")); failure != nil {
		return nil, failure
	}
	for _, f := range []struct{ name, want string }{
		{"provider", ddnsID}, {"passwd", ddnsID}, {"hostname", d.ddns.hostname}, {"username", d.ddns.username},
	} {
		if c.text(f.name) != f.want {
			return nil, d.mistake(c, codeDDNS, f.name+" is not "+f.want)
		}
	}
	if !slices.Contains([]string{"DEFAULT", "MANUAL_V4", "MANUAL_V6", "MANUAL"}, c.text("net")) {
		return nil, d.mistake(c, codeDDNS, "net is "+c.text("net"))
	}
	ipv4, err4 := netip.ParseAddr(c.text("ip"))
	ipv6, err6 := netip.ParseAddr(c.text("ipv6"))
	if err4 != nil || !ipv4.Is4() || err6 != nil || !ipv6.Is6() || ipv6.Is4In6() || ipv6.Zone() != "" {
		return nil, d.mistake(c, codeDDNS, "ip is "+c.text("ip")+", ipv6 is "+c.text("ipv6"))
	}
	if ipv6.IsUnspecified() && c.text("ipv6") != "0:0:0:0:0:0:0:0" {
		return nil, d.mistake(c, codeDDNS, "no IPv6 address is 0:0:0:0:0:0:0:0, not "+c.text("ipv6"))
	}
	d.ddns.enable, _ = c.params["enable"].(bool)
	d.ddns.heartbeat, _ = c.params["heartbeat"].(bool)
	d.ddns.net = c.text("net")
	d.ddns.addresses = addresses{}
	if !ipv4.IsUnspecified() {
		d.ddns.addresses.a = ipv4.String()
	}
	if !ipv6.IsUnspecified() {
		d.ddns.addresses.aaaa = ipv6.String()
	}
	d.detect()
	return nil, nil
}

func (d *DSM) wantDDNS(id string) *apiError {
	if d.ddns == nil || id != ddnsID {
		return &apiError{Code: codeDDNS}
	}
	return nil
}

func (d *DSM) updateDDNS(c *call) (any, *apiError) {
	if failure := d.wantDDNS(c.text("id")); failure != nil {
		return nil, failure
	}
	d.detect()
	return nil, nil
}

func (d *DSM) deleteDDNS(c *call) (any, *apiError) {
	ids, _ := c.params["id"].([]any)
	if len(ids) != 1 {
		return nil, d.mistake(c, codeDDNS, "not one id")
	}
	if failure := d.wantDDNS(ids[0].(string)); failure != nil {
		return nil, failure
	}
	d.ddns = nil
	return nil, nil
}

func (d *DSM) listExtIP(*call) (any, *apiError) {
	ip, ipv6 := d.wan.shown()
	return []any{map[string]any{"ip": ip, "ipv6": ipv6, "type": "WAN"}}, nil
}

func (d *DSM) listEthernet(*call) (any, *apiError) {
	ipv6 := []string{"fe80::211:32ff:fe00:1"}
	if d.wan.aaaa != "" {
		ipv6 = append(ipv6, d.wan.aaaa)
	}
	return []any{map[string]any{"ifname": "eth0", "ip": "192.168.1.2", "ipv6": ipv6}}, nil
}
