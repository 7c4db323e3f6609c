package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// answer is what came for GET /v2/.
type answer struct {
	status int
	header http.Header
	body   string // its begin
	took   time.Duration
}

// isRegistry tells a registry's answer from any other: by the header that the
// reference registry sends, or by the empty object that it answers with.
//
// Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#legacy-docker-support-http-headers
func (a answer) isRegistry() bool {
	return strings.HasPrefix(a.header.Get("Docker-Distribution-Api-Version"), "registry/2.0") ||
		a.status == http.StatusOK && a.body == "{}"
}

// What to do where it is not the doctor who knows more.
const (
	adviseLogs    = "Read why: docker compose logs registry."
	advisePort    = "Set the option port of docker in the config to the registry's; docker compose logs registry says whether it listens."
	adviseTo      = "Start the registry there, or correct the option to of registry_proxy in the config."
	adviseNoLogin = "Take the login out of the registry's own settings (REGISTRY_AUTH, or auth in its config.yml): " +
		"Caddy asks for the password, and does not pass it on."
)

// fix is the advice for a container, or for the addresses of the option to.
func fix(container string, inDocker bool) string {
	if inDocker {
		return container
	}
	return adviseTo
}

// judgeAnswer says whether an answer is that of a registry for everybody.
func judgeAnswer(where string, a answer, inDocker bool) Finding {
	status := strings.TrimSpace(fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)))
	switch says := where + " answers " + status; {
	case a.status == http.StatusOK && a.isRegistry():
		return ok(fmt.Sprintf("%s answers in %s", where, a.took.Round(time.Millisecond)))
	case a.status == http.StatusBadRequest && strings.Contains(a.body, "HTTP request to an HTTPS server"):
		return wrong("Write https:// before the address after to, or take TLS out of the registry's settings (REGISTRY_HTTP_TLS).",
			where+" speaks HTTPS, not HTTP")
	case !a.isRegistry() && a.status == http.StatusUnauthorized && strings.HasPrefix(a.header.Get("Www-Authenticate"), "B"):
		// Basic or Bearer: a proxy before a registry, or something else.
		return wrong(adviseNoLogin, where+" asks for a login of its own, and does not say that it is a registry")
	case !a.isRegistry():
		if to := a.header.Get("Location"); to != "" {
			says += " and sends to another address"
		}
		if server := a.header.Get("Server"); server != "" {
			says += fmt.Sprintf(" (%.60q)", server)
		}
		return wrong(fix(advisePort, inDocker), says, "what is there is not a registry")
	case a.status == http.StatusUnauthorized:
		return wrong(adviseNoLogin, "the registry at "+where+" asks for a login of its own")
	default:
		return wrong(fix(adviseLogs, inDocker), "the registry at "+says)
	}
}

// judgeSilence says why there was no answer in HTTP.
func judgeSilence(where string, err error, inDocker bool) Finding {
	var unresolved *net.DNSError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return unknown("Start the doctor again.", "it was interrupted")
	case errors.As(err, &unresolved) && unresolved.IsNotFound:
		return wrong("Use the block docker, or publish the registry and write to 127.0.0.1:5003: a container's name is known in Docker's own networks only.",
			"the name "+unresolved.Name+" is not known here")
	case errors.As(err, &unresolved):
		return unknown("Look whether this machine can ask its DNS servers.", where+": "+unresolved.Error())
	case errors.Is(err, syscall.ECONNREFUSED):
		return wrong(fix(advisePort, inDocker), where+" refuses the connection: nothing listens there")
	case errors.Is(err, fs.ErrNotExist):
		return wrong(adviseTo, where+": there is no such socket")
	case errors.Is(err, fs.ErrPermission):
		return wrong("Let the user that Caddy runs as write to the socket.",
			fmt.Sprintf("%s: permission denied for user %d", where, os.Geteuid()))
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return wrong(fix("Run Caddy in the host's network, as compose.yaml does, or in that of the registry.", inDocker),
			where+": no way leads there from here")
	case timedOut(err):
		return wrong(fix("Restart it: docker compose restart registry; docker compose logs registry may say why.", inDocker),
			fmt.Sprintf("%s does not answer within %s", where, answerTimeout))
	case errors.As(err, &untrusted):
		return wrong("Give the registry a certificate that this machine trusts, or write http:// after to.",
			where+": "+untrusted.Err.Error())
	case strings.Contains(err.Error(), http.ErrSchemeMismatch.Error()), errors.As(err, new(tls.RecordHeaderError)):
		return wrong("Write http:// before the address after to.", where+" speaks no TLS")
	default:
		return wrong(fix(advisePort, inDocker), where+" does not speak HTTP: "+cause(err), "what is there is not a registry")
	}
}

// cause is an error without the request that it came of, and what the other side
// sent cut to a line.
func cause(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return fmt.Sprintf("%.100s", strings.ToValidUTF8(strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r < ' ' }), " "), ""))
}
