package ddnsipv6

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestDevice(t *testing.T) {
	suffix, mac := DeviceWithSuffix, DeviceWithMAC
	const hw = "00:11:32:aa:bb:cc"
	tests := []struct {
		name   string
		device func(string) (Device, error)
		of     string
		prefix string // of the host
		want   string
		err    string // instead of want
	}{
		{name: "suffix", device: suffix, of: "::1:2", prefix: "2600:1:2:3::/64", want: "2600:1:2:3::1:2"},
		{name: "suffix of 64 bits", device: suffix, of: "::ffff:ffff:ffff:ffff", prefix: "2600:1:2:3::/64", want: "2600:1:2:3:ffff:ffff:ffff:ffff"},
		{name: "suffix with a subnet", device: suffix, of: "::ff:0:0:0:1", prefix: "2600:1:2:300::/56", want: "2600:1:2:3ff::1"},
		{name: "suffix behind /48", device: suffix, of: "::1:0:0:0:1", prefix: "2600:1:2::/48", want: "2600:1:2:1::1"},
		{name: "prefix with the host's bits", device: suffix, of: "::1", prefix: "2600:1:2:3:4:5:6:7/64", want: "2600:1:2:3::1"},
		{name: "suffix behind /127", device: suffix, of: "::1", prefix: "2600::2/127", want: "2600::3"},
		{name: "suffix in upper case", device: suffix, of: "::AB", prefix: "2600:1:2:3::/64", want: "2600:1:2:3::ab"},
		{name: "suffix that ends like IPv4", device: suffix, of: "::1.2.3.4", prefix: "2600:1:2:3::/64", want: "2600:1:2:3::102:304"},
		{name: "mac", device: mac, of: hw, prefix: "2600:1:2:3::/64", want: "2600:1:2:3:211:32ff:feaa:bbcc"},
		{name: "mac in another form", device: mac, of: "00-11-32-AA-BB-CC", prefix: "2600:1:2:3::/64", want: "2600:1:2:3:211:32ff:feaa:bbcc"},
		{name: "mac in groups of four", device: mac, of: "0011.32aa.bbcc", prefix: "2600:1:2:3::/64", want: "2600:1:2:3:211:32ff:feaa:bbcc"},
		{name: "local mac", device: mac, of: "02:42:ac:11:00:02", prefix: "2600:1:2:3::/64", want: "2600:1:2:3:42:acff:fe11:2"},
		{name: "mac, prefix with the host's bits", device: mac, of: hw, prefix: "2600:1:2:3:4:5:6:7/64", want: "2600:1:2:3:211:32ff:feaa:bbcc"},

		{name: "overlap", device: suffix, of: "::1:0:0:0:1", prefix: "2600:1:2:3::/64", err: "overlaps the prefix 2600:1:2:3::/64"},
		{name: "overlap, even where the bits are the same", device: suffix, of: "2600:1:2:3::1", prefix: "2600:1:2:3::/64", err: "overlaps"},
		{name: "overlap by one bit", device: suffix, of: "::100:0:0:0:1", prefix: "2600:1:2:300::/56", err: "overlaps"},
		{name: "suffix behind /128", device: suffix, of: "::1", prefix: "2600:1:2:3::1/128", err: "overlaps"},
		{name: "suffix, no prefix", device: suffix, of: "::1", err: "prefix of 2600:1:2:3::9 is not known"},
		{name: "mac, no prefix", device: mac, of: hw, err: "prefix of 2600:1:2:3::9 is not known"},
		{name: "mac, shorter prefix", device: mac, of: hw, prefix: "2600:1:2:300::/56", err: "needs a prefix of 64 bits, and 2600:1:2:300::/56 has 56"},
		{name: "mac, /63", device: mac, of: hw, prefix: "2600::/63", err: "has 63"},
		{name: "mac, /65", device: mac, of: hw, prefix: "2600::/65", err: "has 65"},
		{name: "mac, /128", device: mac, of: hw, prefix: "2600::9/128", err: "has 128"},

		{name: "suffix empty", device: suffix, err: `suffix "" is not the end`},
		{name: "suffix no address", device: suffix, of: "1:2", err: `suffix "1:2" is not the end`},
		{name: "suffix with a length", device: suffix, of: "::1/64", err: `suffix "::1/64" is not the end`},
		{name: "suffix with spaces", device: suffix, of: " ::1", err: "is not the end"},
		{name: "suffix of IPv4", device: suffix, of: "192.0.2.1", err: `suffix "192.0.2.1" is an IPv4 address`},
		{name: "suffix IPv4-mapped", device: suffix, of: "::ffff:192.0.2.1", err: "is an IPv4 address"},
		{name: "suffix with a zone", device: suffix, of: "::1%eth0", err: `suffix "::1%eth0" must not have a zone`},
		{name: "suffix unspecified", device: suffix, of: "::", err: `suffix "::" is the address of the prefix itself`},
		{name: "suffix unspecified with a zone", device: suffix, of: "::%eth0", err: "zone"},
		{name: "mac empty", device: mac, err: `mac "" is not a MAC address`},
		{name: "mac too short", device: mac, of: "00:11:32:aa:bb", err: "is not a MAC address"},
		{name: "mac no hex", device: mac, of: "00:11:32:aa:bb:cg", err: "is not a MAC address"},
		{name: "mac of a group", device: mac, of: "01:00:5e:00:00:01", err: `mac "01:00:5e:00:00:01" is the address of a group`},
		{name: "mac broadcast", device: mac, of: "ff:ff:ff:ff:ff:ff", err: "is the address of a group"},
		{name: "mac EUI-64", device: mac, of: "00:11:32:ff:fe:aa:bb:cc", err: "is not a MAC address"},
		{name: "mac InfiniBand", device: mac, of: "00:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01", err: "is not a MAC address"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			host := Address{IP: netip.MustParseAddr("2600:1:2:3::9")}
			if test.prefix != "" {
				host.Prefix = netip.MustParsePrefix(test.prefix)
			}
			got, err := deviceAddress(test.device, test.of, host)
			switch {
			case test.err != "":
				if err == nil || !strings.Contains(err.Error(), test.err) || got.IsValid() {
					t.Errorf("got %s, %v, want an error with %q", got, err, test.err)
				}
			case err != nil || got != netip.MustParseAddr(test.want):
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

func deviceAddress(device func(string) (Device, error), of string, host Address) (netip.Addr, error) {
	d, err := device(of)
	if err != nil {
		if d != (Device{}) {
			err = fmt.Errorf("device beside error %w", err)
		}
		return netip.Addr{}, err
	}
	return d.Address(host)
}

// This host needs no prefix, and its address is not put together anew.
func TestThisHost(t *testing.T) {
	ip := netip.MustParseAddr("2600::9")
	for _, host := range []Address{{IP: ip}, {IP: ip, Prefix: netip.MustParsePrefix("2600::9/128")}} {
		if got, err := (Device{}).Address(host); got != ip || err != nil {
			t.Errorf("got %s, %v of prefix %s", got, err, host.Prefix)
		}
	}
}

// Against the same with the bits written out as zeros and ones.
func FuzzDevice(f *testing.F) {
	for bits := uint8(48); bits <= 64; bits++ {
		f.Add(uint64(0x2600_0001_0002_0300), uint64(7), uint64(1)<<(64-bits)>>1, uint64(1), uint64(0x001132aabbcc), bits)
		f.Add(uint64(0x2600_0001_0002_0300), uint64(7), uint64(1)<<(64-bits)<<1, uint64(1), uint64(0x011132aabbcc), bits)
	}
	f.Add(uint64(0x2600<<48), uint64(1<<63), uint64(0), uint64(0xffffc0000201), uint64(0x0242ac110002), uint8(127))
	f.Add(uint64(0x2600<<48), uint64(0), uint64(0), uint64(0), uint64(0), uint8(128))
	f.Add(uint64(0x2600<<48), uint64(0), uint64(1<<63), uint64(0), uint64(1<<47), uint8(0))
	f.Fuzz(func(t *testing.T, hostHigh, hostLow, suffixHigh, suffixLow, mac uint64, length uint8) {
		bits := int(length) % 129
		ip := addrOf(hostHigh, hostLow)
		host := Address{IP: ip, Prefix: netip.PrefixFrom(ip, bits)}
		prefix, suffix := fmt.Sprintf("%064b%064b", hostHigh, hostLow), fmt.Sprintf("%064b%064b", suffixHigh, suffixLow)

		got, err := deviceAddress(DeviceWithSuffix, addrOf(suffixHigh, suffixLow).String(), host)
		mapped := suffixHigh == 0 && suffixLow>>32 == 0xffff
		good := strings.Contains(suffix, "1") && !mapped && !strings.Contains(suffix[:bits], "1")
		if want := prefix[:bits] + suffix[bits:]; good != (err == nil) || good && bitsOf(got) != want {
			t.Errorf("suffix %s of %s is %s, %v, want %s", addrOf(suffixHigh, suffixLow), host.Prefix, got, err, want)
		}

		mac &= 1<<48 - 1
		hw := binary.BigEndian.AppendUint64(nil, mac)[2:]
		got, err = deviceAddress(DeviceWithMAC, net.HardwareAddr(hw).String(), host)
		m := fmt.Sprintf("%048b", mac)
		flipped := map[byte]string{'0': "1", '1': "0"}[m[6]]
		good = m[7] == '0' && bits == 64
		if want := prefix[:64] + m[:6] + flipped + m[7:24] + "1111111111111110" + m[24:]; good != (err == nil) || good && bitsOf(got) != want {
			t.Errorf("mac %s of %s is %s, %v, want %s", net.HardwareAddr(hw), host.Prefix, got, err, want)
		}
		if good && !isEUI64(got) {
			t.Errorf("%s is not recognised as made of a MAC address", got)
		}
	})
}

func addrOf(high, low uint64) netip.Addr {
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, high), low)))
}

func bitsOf(ip netip.Addr) string {
	var s strings.Builder
	for _, b := range ip.As16() {
		fmt.Fprintf(&s, "%08b", b)
	}
	return s.String()
}

func TestParsePrefix(t *testing.T) {
	tests := []struct{ name, in, want, err string }{
		{name: "prefix", in: "2001:db8::/32", want: "2001:db8::/32"},
		{name: "upper case", in: "2001:DB8::/32", want: "2001:db8::/32"},
		{name: "everything", in: "::/0", want: "::/0"},
		{name: "address", in: "2001:db8::1", want: "2001:db8::1/128"},
		{name: "address of 128 bits", in: "2001:db8::1/128", want: "2001:db8::1/128"},
		{name: "empty", err: "is not a prefix"},
		{name: "word", in: "lan", err: `"lan" is not a prefix`},
		{name: "too long", in: "2001:db8::/129", err: "is not a prefix"},
		{name: "negative", in: "2001:db8::/-1", err: "is not a prefix"},
		{name: "no length", in: "2001:db8::/", err: "is not a prefix"},
		{name: "spaces", in: " 2001:db8::/32", err: "is not a prefix"},
		{name: "bits behind", in: "2001:db8::1/32", err: "did you mean 2001:db8::/32?"},
		{name: "IPv4", in: "192.0.2.0/24", err: "is not one of IPv6 addresses"},
		{name: "IPv4 address", in: "192.0.2.1", err: "is not one of IPv6 addresses"},
		{name: "IPv4-mapped", in: "::ffff:0:0/96", err: "is not one of IPv6 addresses"},
		{name: "IPv4-mapped address", in: "::ffff:192.0.2.1", err: "is not one of IPv6 addresses"},
		{name: "zone", in: "fe80::1%eth0", err: "must not have a zone"},
		{name: "zone before the length", in: "fe80::%eth0/64", err: "must not have a zone"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parsePrefix(test.in)
			switch {
			case test.err != "":
				if err == nil || !strings.Contains(err.Error(), test.err) || got.IsValid() {
					t.Errorf("got %s, %v, want an error with %q", got, err, test.err)
				}
			case err != nil || got.String() != test.want:
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

// What is accepted are prefixes of IPv6 as netip has them, and all of those.
func FuzzParsePrefix(f *testing.F) {
	for _, s := range []string{"2001:db8::/32", "::", "::/0", "fe80::1%eth0", "::ffff:1.2.3.4/120", "1.2.3.4", "2001:db8::1/32"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePrefix(s)
		standard, standardErr := netip.ParsePrefix(s)
		if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
			standard, standardErr = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		good := standardErr == nil && standard == standard.Masked() && standard.Addr().Is6() && !standard.Addr().Is4In6()
		if good != (err == nil) || good && p != standard || !good && p != (netip.Prefix{}) {
			t.Errorf("%q is %s, %v", s, p, err)
		}
	})
}
