package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

// closeTimeout bounds the logout from DSM when a config ends.
const closeTimeout = 3 * time.Second

func init() {
	caddy.RegisterModule(new(Module))
}

// Module is [Provider] as a Caddy module, for DNS-01 challenges and for
// ddns_ipv6:
//
//	synology {
//		credentials_file <file>
//		myds_id    <id>
//		auth_key   <key>
//		api_key    <key>
//		serial     <serial>
//		mac        <mac>
//		endpoint   <url>
//		nameserver <host:port>
//		heartbeat  <duration>
//		command    create_txt|delete_txt|set_ip|heartbeat "[<method>] <name>"
//		dsm <url> {
//			account       <user>
//			password_file <file>
//			password      <placeholder>
//			device_id     <token>
//			device_name   <name>
//			otp_code      <code>
//			ca_file       <file>
//			fingerprint   <sha256>
//		}
//	}
//
// Every value may have placeholders; secrets should be given by them or by file.
type Module struct {
	Provider

	// Heartbeat is how often the service is told that a name is in use.
	// Default: never.
	Heartbeat caddy.Duration `json:"heartbeat,omitempty"`

	inUse bool
}

// CaddyModule returns the Caddy module information.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "dns.providers.synology",
		New: func() caddy.Module { return new(Module) },
	}
}

// Provision replaces placeholders. Nothing is asked before the first call.
func (m *Module) Provision(ctx caddy.Context) error {
	warnLiteral(ctx.Logger(), m.AuthKey, "auth_key")
	warnLiteral(ctx.Logger(), m.APIKey, "api_key")
	for _, target := range []any{&m.CredentialsFile, &m.Credentials, &m.Service} {
		if err := replace(target); err != nil {
			return err
		}
	}
	m.Service.Heartbeat = time.Duration(m.Heartbeat)
	m.Logger = ctx.Logger()
	if m.DSM == nil {
		return nil
	}
	if err := m.DSM.provision(ctx); err != nil {
		return err
	}
	using(m.DSM)
	m.inUse = true
	return nil
}

// provision prepares DSM's settings for use in Caddy.
func (d *DSM) provision(ctx caddy.Context) error {
	warnLiteral(ctx.Logger(), d.Password, "password")
	warnLiteral(ctx.Logger(), d.DeviceID, "device_id")
	d.Memory = ctx.Storage()
	if err := replace(d); err != nil {
		return fmt.Errorf("dsm: %w", err)
	}
	_, err := d.check()
	return err
}

// Validate refuses what contradicts itself.
func (m *Module) Validate() error {
	if m.Service.Heartbeat != 0 && m.Service.Heartbeat < time.Minute {
		return fmt.Errorf("heartbeat is %s; it must be at least 1m", m.Service.Heartbeat)
	}
	if m.DSM != nil {
		if m.Credentials != (Credentials{}) || m.CredentialsFile != "" || m.Service != (Service{}) {
			return errors.New("dsm excludes the settings of the DDNS service: credentials, endpoint, nameserver, command and heartbeat")
		}
		return nil
	}
	// Now, and not when the first certificate is due. The file may come later.
	if m.CredentialsFile == "" {
		if _, err := m.credentials(); err != nil {
			return err
		}
	}
	if _, err := newService(m.Service, m.Credentials); err != nil {
		return err
	}
	_, err := newDNSServer(m.NameServer)
	return err
}

// Cleanup logs out of DSM.
func (m *Module) Cleanup() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var err error
	if m.inUse {
		err = unused(m.DSM)
	}
	return errors.Join(err, m.Close(ctx))
}

// UnmarshalCaddyfile sets the provider from Caddyfile tokens.
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // module name
	if d.NextArg() {
		return d.ArgErr()
	}
	options := map[string]*string{
		"credentials_file": &m.CredentialsFile,
		"myds_id":          &m.MyDSID, "auth_key": &m.AuthKey, "api_key": &m.APIKey, "serial": &m.Serial, "mac": &m.MAC,
		"endpoint": &m.Endpoint, "nameserver": &m.NameServer,
	}
	commands := map[string]*string{
		"create_txt": &m.Commands.CreateTXT, "delete_txt": &m.Commands.DeleteTXT,
		"set_ip": &m.Commands.SetIP, "heartbeat": &m.Commands.Heartbeat,
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "dsm":
			if m.DSM != nil {
				return d.Errf("dsm is set twice")
			}
			m.DSM = new(DSM)
			if err := m.DSM.unmarshal(d); err != nil {
				return err
			}
		case "heartbeat":
			var value string
			if m.Heartbeat != 0 {
				return d.Errf("heartbeat is set twice")
			}
			if !d.AllArgs(&value) {
				return d.ArgErr()
			}
			duration, err := caddy.ParseDuration(value)
			if err != nil {
				return d.Errf("heartbeat: %v", err)
			}
			m.Heartbeat = caddy.Duration(duration)
		case "command":
			var name, value string
			if !d.AllArgs(&name, &value) {
				return d.ArgErr()
			}
			if commands[name] == nil {
				return d.Errf("unknown command %s", name)
			}
			if err := setOnce(d, "command "+name, commands[name], value); err != nil {
				return err
			}
		default:
			if err := setOption(d, options, "synology"); err != nil {
				return err
			}
		}
	}
	return nil
}

// unmarshal reads the tokens after dsm.
func (d *DSM) unmarshal(tokens *caddyfile.Dispenser) error {
	if !tokens.AllArgs(&d.URL) {
		return tokens.ArgErr()
	}
	options := map[string]*string{
		"account": &d.Account, "password": &d.Password, "password_file": &d.PasswordFile,
		"device_id": &d.DeviceID, "device_name": &d.DeviceName, "otp_code": &d.OTPCode,
		"ca_file": &d.CAFile, "fingerprint": &d.Fingerprint,
	}
	for nesting := tokens.Nesting(); tokens.NextBlock(nesting); {
		if err := setOption(tokens, options, "dsm"); err != nil {
			return err
		}
	}
	return nil
}

// setOption sets the option whose name the dispenser is at.
func setOption(d *caddyfile.Dispenser, options map[string]*string, of string) error {
	name := d.Val()
	if options[name] == nil {
		return d.Errf("unknown option %s of %s", name, of)
	}
	var value string
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	return setOnce(d, name, options[name], value)
}

func setOnce(d *caddyfile.Dispenser, name string, option *string, value string) error {
	if *option != "" {
		return d.Errf("%s is set twice", name)
	}
	*option = value
	return nil
}

// replace replaces the placeholders in all strings that target points to. One
// that is unknown or empty is an error: without it a secret would be empty.
func replace(target any) error {
	repl := caddy.NewReplacer()
	var visit func(v reflect.Value) error
	visit = func(v reflect.Value) error {
		switch v.Kind() {
		case reflect.String:
			value, err := repl.ReplaceOrErr(v.String(), true, true)
			if err != nil {
				return err
			}
			v.SetString(value)
		case reflect.Struct:
			for i := range v.NumField() {
				if !v.Type().Field(i).IsExported() {
					continue
				}
				err := visit(v.Field(i))
				name := strings.Split(v.Type().Field(i).Tag.Get("json"), ",")[0]
				switch {
				case err == nil:
				case slices.Contains(secretFields, name): // the error repeats a part of it
					return fmt.Errorf("%s: a placeholder is unknown or empty", name)
				default:
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		return nil
	}
	return visit(reflect.ValueOf(target).Elem())
}

// secretFields are the names of the settings that hold a secret.
var secretFields = []string{"auth_key", "api_key", "password", "device_id", "otp_code"}

// warnLiteral warns of a secret that is in the config itself.
func warnLiteral(logger *zap.Logger, value, option string) {
	if value != "" && !strings.Contains(value, "{") {
		logger.Warn("a secret is written into the config, where GET /config/ and autosave.json show it; "+
			"a file, or a placeholder such as {env.NAME} or {file./path}, keeps it out", zap.String("option", option))
	}
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddy.Validator       = (*Module)(nil)
	_ caddy.CleanerUpper    = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
)
