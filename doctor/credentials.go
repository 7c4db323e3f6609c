package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology"
	"github.com/caddy-nas/caddy-nas-registry/internal/redact"
)

// holder is a part of the config with credentials: a DNS provider, or a source of
// certificates.
type holder struct {
	of       string // what it is for
	name     string // of the module, such as "synology"
	raw      json.RawMessage
	provider bool   // it is a DNS provider
	domain   string // that it is for, if that is not the registry's
}

// holders are all that the registry's name needs. The same provider with the same
// settings counts once.
func (s *setup) holders() (list []holder) {
	add := func(h holder) {
		if len(h.raw) > 0 && !slices.ContainsFunc(list, func(other holder) bool { return string(other.raw) == string(h.raw) }) {
			list = append(list, h)
		}
	}
	var policy struct {
		Provider json.RawMessage `json:"provider"`
	}
	if json.Unmarshal(s.policy(), &policy) == nil {
		add(holder{of: "ddns_ipv6", name: moduleOf(policy.Provider, "name"), raw: policy.Provider, provider: true})
	}
	for _, raw := range s.issuers {
		var issuer struct {
			Challenges struct {
				DNS struct {
					Provider json.RawMessage `json:"provider"`
					Domain   string          `json:"override_domain"`
				} `json:"dns"`
			} `json:"challenges"`
		}
		if json.Unmarshal(raw, &issuer) == nil {
			dns := issuer.Challenges.DNS
			add(holder{of: "the certificate", name: moduleOf(dns.Provider, "name"), raw: dns.Provider, provider: true, domain: replaced(dns.Domain)})
		}
	}
	for _, raw := range s.managers {
		add(holder{of: "the certificate", name: moduleOf(raw, "via"), raw: raw})
	}
	return list
}

// hasCredentials tells whether anything of the registry's has credentials.
func (p *patient) hasCredentials() bool {
	return slices.ContainsFunc(p.setup.holders(), func(h holder) bool {
		found := len(redact.LiteralSecrets(h.raw)) > 0
		redact.EachString(h.raw, func(path, value string) {
			found = found || isFile(path) || placeholder.MatchString(value)
		})
		return found
	})
}

// mayLogin tells whether there is a DNS provider, and the user has permitted to ask it.
func (p *patient) mayLogin() bool {
	return p.options.Login && slices.ContainsFunc(p.setup.holders(), func(h holder) bool { return h.provider })
}

var placeholder = regexp.MustCompile(`\{(env|file)\.([^{}]+)\}`)

// isFile tells the fields that name a file with credentials.
func isFile(path string) bool {
	return strings.HasSuffix(path, "_file")
}

// lookCredentials looks whether all credentials are there, and can be read.
func lookCredentials(_ context.Context, p *patient) Finding {
	var findings []Finding
	for _, h := range p.setup.holders() {
		if finding := h.look(); len(finding.Seen) > 0 {
			findings = append(findings, finding)
		}
	}
	finding := worst(findings)
	if finding.Status == Wrong {
		p.refused = "credentials"
	}
	return finding
}

// look looks at the credentials of one part of the config.
func (h holder) look() Finding {
	what := h.name + " (for " + h.of + ")"
	var findings []Finding
	redact.EachString(h.raw, func(path, value string) {
		for _, match := range placeholder.FindAllStringSubmatch(value, -1) {
			findings = append(findings, lookPlaceholder(what, match[1], match[2]))
		}
		if isFile(path) && h.name != "synology" {
			file := replaced(value)
			if err := readable(file); err != nil {
				findings = append(findings, unreadable(what, file, err))
			} else {
				findings = append(findings, ok(what+": "+file+" can be read"))
			}
		}
	})
	for _, field := range redact.LiteralSecrets(h.raw) {
		findings = append(findings, ok(what+": "+field+" is written into the config itself, where everyone who may read that sees it; "+
			"a placeholder such as {file./path} keeps it out"))
	}
	if whole := worst(findings); whole.Status != OK || h.name != "synology" {
		return whole
	}
	return worst(append(findings, h.lookSynology(what)))
}

// lookSynology looks as the module itself will.
func (h holder) lookSynology(what string) Finding {
	check, file, err := synologyCheck(h.raw)
	if err == nil {
		err = check()
	}
	switch {
	case err != nil:
		return unreadable(what, file, err)
	case file != "":
		return ok(what + ": " + file + " can be read, by its owner only")
	}
	return Finding{Status: OK}
}

// synologyCheck returns what checks the settings, and the file that they are of; it
// has nothing to check where a folder is read.
func synologyCheck(raw json.RawMessage) (check func() error, file string, err error) {
	var settings dnssynology.Module // rather than its Provider, whose durations are numbers only
	err = json.Unmarshal(replacedJSON(raw), &settings)
	switch {
	case err != nil:
		return nil, "", errors.New("its settings can't be read") // the error may have values
	case settings.DSM != nil:
		return settings.DSM.CheckCredentials, settings.DSM.PasswordFile, nil
	case moduleOf(raw, "via") != "":
		return func() error { return nil }, "", nil
	}
	return settings.CheckCredentials, settings.CredentialsFile, nil
}

// replacedJSON replaces the placeholders in all strings of JSON.
func replacedJSON(raw json.RawMessage) json.RawMessage {
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return raw
	}
	var visit func(value any) any
	visit = func(value any) any {
		switch v := value.(type) {
		case map[string]any:
			for name := range v {
				v[name] = visit(v[name])
			}
		case []any:
			for i := range v {
				v[i] = visit(v[i])
			}
		case string:
			return replaced(v)
		}
		return value
	}
	encoded, err := json.Marshal(visit(value))
	if err != nil {
		return raw
	}
	return encoded
}

// lookPlaceholder looks whether a placeholder stands for something.
func lookPlaceholder(what, kind, name string) Finding {
	if kind == "env" {
		if os.Getenv(name) == "" {
			return wrong("Set "+name+" in .env and in compose.yaml, and start Caddy anew: docker compose up -d; without Docker, start the doctor with Caddy's variables.",
				what+": the environment variable "+name+" is not set here, or empty")
		}
		return ok(what + ": the environment variable " + name + " is set")
	}
	if err := readable(name); err != nil {
		return unreadable(what, name, err)
	}
	if strings.TrimSpace(caddy.NewReplacer().ReplaceKnown("{file."+name+"}", "")) == "" {
		return wrong("Write the token or password into "+name+".", what+": the file "+name+" is empty")
	}
	seen := what + ": " + name + " can be read"
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
		seen += fmt.Sprintf(", but by others too (mode %04o): chmod 600 %s", info.Mode().Perm(), name)
	}
	return ok(seen)
}

func readable(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return f.Close()
}

// unreadable says what to do about credentials that can't be used.
func unreadable(what, file string, err error) Finding {
	seen := what + ": " + err.Error()
	var at *fs.PathError
	if errors.As(err, &at) {
		file = at.Path
	}
	switch {
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return unknown("Run the doctor as the user that Caddy runs as: docker compose exec caddy caddy registry-doctor.", seen)
	case errors.Is(err, fs.ErrPermission):
		return wrong("Give the file to the user that Caddy runs as, root in compose.yaml: on the NAS, sudo chown 0:0 and sudo chmod 600 "+
			"on the file that is mounted as "+file+".", seen)
	case errors.Is(err, fs.ErrNotExist):
		return wrong("Put the file there, or correct the path in the config or the mount in the compose file.", seen)
	}
	return wrong("Correct the credentials as it says.", seen)
}
