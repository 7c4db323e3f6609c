package dnssynology

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// credentialsLimit is the size of a credentials file that is refused, in bytes.
const credentialsLimit = 16 << 10

// credentials returns what the provider is to use: the file's values, and those
// that were set beside it, which win. Their errors name the file and what to do,
// and never repeat any of its content.
func (p *Provider) credentials() (Credentials, error) {
	c := p.Credentials
	if p.CredentialsFile != "" {
		file, err := readCredentials(p.CredentialsFile)
		if err != nil {
			return Credentials{}, err
		}
		c = c.or(file)
	}
	for _, field := range c.fields() {
		*field.value = strings.TrimSpace(*field.value)
		if strings.ContainsFunc(*field.value, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
			return Credentials{}, fmt.Errorf("%s has spaces or control characters in it", field.name)
		}
	}
	if c.MAC != "" {
		mac, err := normalMAC(c.MAC)
		if err != nil {
			return Credentials{}, err
		}
		c.MAC = mac
	}
	if err := c.need("TXT records", "myds_id", "auth_key", "serial"); err != nil {
		return Credentials{}, err // nothing can be done without these
	}
	return c, nil
}

// field is one of the credentials by its name in JSON.
type field struct {
	name  string
	value *string
}

func (c *Credentials) fields() []field {
	return []field{
		{"myds_id", &c.MyDSID}, {"auth_key", &c.AuthKey}, {"api_key", &c.APIKey}, {"serial", &c.Serial}, {"mac", &c.MAC},
	}
}

// or fills what is empty from another set.
func (c Credentials) or(other Credentials) Credentials {
	others := other.fields()
	for i, field := range c.fields() {
		if *field.value == "" {
			*field.value = *others[i].value
		}
	}
	return c
}

// need returns an error that lists which of the named fields are missing.
func (c Credentials) need(purpose string, names ...string) error {
	var missing []string
	for _, name := range names {
		for _, field := range c.fields() {
			if field.name == name && *field.value == "" {
				missing = append(missing, name)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s need %s, which is not set: run credentials.sh on the NAS and set credentials_file to the file that it writes, or set the values one by one",
		purpose, strings.Join(missing, ", "))
}

// needForAddresses is need for the commands that set A and AAAA.
func (c Credentials) needForAddresses() error {
	return c.need("addresses", "myds_id", "auth_key", "api_key", "serial", "mac")
}

// secrets are the values that must not show up anywhere, and those that should
// not: what is too short would be found in everything.
func (c Credentials) secrets() []string {
	list := []string{c.AuthKey, c.APIKey}
	for _, s := range []string{c.MyDSID, c.Serial, c.MAC} {
		if len(s) >= 6 {
			list = append(list, s)
		}
	}
	return list
}

// normalMAC returns a MAC address in lower case, with colons.
func normalMAC(s string) (string, error) {
	if len(s) == 12 && !strings.ContainsAny(s, ":-.") {
		s = s[:4] + "." + s[4:8] + "." + s[8:]
	}
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return "", errors.New("mac is not a MAC address: it looks like 00:11:32:aa:bb:cc")
	}
	return mac.String(), nil
}

// readCredentials reads a file that only its owner can read.
func readCredentials(path string) (Credentials, error) {
	// Opening a named pipe must not wait for its other end.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Credentials{}, fmt.Errorf("opening credentials_file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return Credentials{}, fmt.Errorf("reading credentials_file: %w", err)
	case !info.Mode().IsRegular():
		return Credentials{}, fmt.Errorf("credentials_file %s is no regular file", path)
	case info.Mode().Perm()&0o066 != 0 && runtime.GOOS != "windows":
		return Credentials{}, fmt.Errorf("credentials_file %s is accessible to others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, credentialsLimit+1))
	if err != nil {
		return Credentials{}, fmt.Errorf("reading credentials_file: %w", err)
	}
	if len(data) > credentialsLimit {
		return Credentials{}, fmt.Errorf("credentials_file %s is longer than %d bytes: is it the right file?", path, credentialsLimit)
	}
	c, err := parseCredentials(data)
	if err != nil {
		return Credentials{}, fmt.Errorf("credentials_file %s %w: write it anew with credentials.sh", path, err)
	}
	return c, nil
}

// parseCredentials reads an object of strings with the fields of [Credentials],
// any of which may be missing. Errors have nothing of what it read: where the
// syntax is wrong, anything may be a secret.
func parseCredentials(data []byte) (Credentials, error) {
	var c Credentials
	if !utf8.Valid(data) {
		return c, errors.New("is not UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	in := json.NewDecoder(bytes.NewReader(data))
	if token, err := in.Token(); err != nil || token != json.Delim('{') {
		return c, errors.New("is not a JSON object")
	}
	seen := map[string]bool{}
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return Credentials{}, notJSON(in)
		}
		var target *string
		for _, field := range c.fields() {
			if field.name == name {
				target = field.value
			}
		}
		switch {
		case target == nil:
			return Credentials{}, fmt.Errorf("has an unknown field before byte %d (known are myds_id, auth_key, api_key, serial, mac)", in.InputOffset())
		case seen[name.(string)]:
			return Credentials{}, fmt.Errorf("has %s twice", name)
		}
		seen[name.(string)] = true
		value, err := in.Token()
		if err != nil {
			return Credentials{}, notJSON(in)
		}
		text, ok := value.(string)
		if !ok {
			return Credentials{}, fmt.Errorf("has a value of %s that is not a string", name)
		}
		*target = text
	}
	if _, err := in.Token(); err != nil {
		return Credentials{}, notJSON(in)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return Credentials{}, errors.New("has something behind its JSON object")
	}
	return c, nil
}

// notJSON says where, and not what.
func notJSON(in *json.Decoder) error {
	return fmt.Errorf("is not JSON (after byte %d)", in.InputOffset())
}
