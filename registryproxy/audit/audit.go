// Package audit writes down what was done to a registry, and what was refused:
// one line in Caddy's log for each push, delete, refused action and failed login,
// and counters of all requests.
package audit

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// LoggerName is the name of the logger, for the include and exclude of Caddy's
// logs.
const LoggerName = "registry.audit"

// Actions beside those of the rules.
const (
	ActionLogin = "login"
	// ActionMount is a mount that was left out of a push.
	ActionMount = "mount"
)

// actions are those that are counted by their names.
var actions = []string{ActionLogin, ActionMount, "pull", "push", "delete", "catalog", "none"}

// Result is what became of a request.
type Result int

// The results.
const (
	// Done is an action that the registry has done.
	Done Result = iota
	// Challenged is a request without credentials, which is how clients begin.
	Challenged
	// Refused is what the user may not do, or a wrong user name or password.
	Refused
	// Throttled is a login that was not even tried, after too many.
	Throttled
	// Rejected is an action that the registry did not do: 4xx.
	Rejected
	// Failed is an action that broke off, at either end, or that the registry failed
	// to do: 5xx.
	Failed
)

var results = []string{Done: "done", Challenged: "challenged", Refused: "refused", Throttled: "throttled", Rejected: "rejected", Failed: "failed"}

func (r Result) String() string { return results[r] }

// statusClosed is what Caddy's reverse_proxy answers to a client that went away.
const statusClosed = 499

// ResultOf returns the result of an action that the registry answered; failed is
// one that broke off.
func ResultOf(status int, failed bool) Result {
	switch {
	case failed, status >= 500, status == statusClosed:
		return Failed
	case status >= 400:
		return Rejected
	}
	return Done
}

// Event is a request, as the audit has it. What is empty is left out, but for
// user and addr.
type Event struct {
	Action string
	Result Result

	Addr       string // as Address returns it
	User       string // "" is anonymous
	Repository string
	Reference  string        // tag, digest or upload, as it was asked for
	Tags       []string      // that a manifest gets beside that
	From       string        // the repository that a blob is mounted from
	Digest     string        // of what was pushed, as the registry says
	Bytes      int64         // of what was pushed
	Duration   time.Duration // from the first request of a push to the end of the last
	Status     int           // that was answered, 0 if nothing was
	Reason     string        // of a refusal
	Verified   bool          // a run of bcrypt came before it, which bounds how many there are
}

const (
	// cheapLines of a kind are written down at once at the most, and cheapEach more
	// every second, of what costs a client next to nothing: else strangers could
	// fill the disk, or make the lines of others roll out of it.
	cheapLines = 100
	cheapEach  = 10

	// longest is how much of a value from a client is written down, in bytes.
	longest = 300
)

// cheap bounds the lines of one kind.
type cheap struct {
	*rate.Limiter
	left atomic.Int64 // out, since the last line
}

func newCheap() *cheap { return &cheap{Limiter: rate.NewLimiter(cheapEach, cheapLines)} }

// kind is what has a bound of its own. Strangers, who don't come further than the
// login, must not make the lines of users be left out, nor mounts, for which clients
// ask by themselves.
type kind struct {
	action string // "" is all that have no kind of their own
	result Result
}

// bounds has those kinds whose lines are bounded.
type bounds map[kind]*cheap

// of returns the bound of an event, nil if there is none.
func (b bounds) of(e Event) *cheap {
	if bound := b[kind{e.Action, e.Result}]; bound != nil {
		return bound
	}
	return b[kind{"", e.Result}]
}

func newBounds() bounds {
	return bounds{
		{ActionLogin, Refused}: newCheap(), {ActionLogin, Throttled}: newCheap(), {ActionMount, Refused}: newCheap(), {"", Refused}: newCheap(),
	}
}

// Destruct makes bounds a value of a [caddy.UsagePool].
func (bounds) Destruct() error { return nil }

// shared has the bounds, one for all modules and configs, so that none has more.
var shared = caddy.NewUsagePool()

const boundsKey = "bounds"

// Log is where events go. The zero value is of no use.
type Log struct {
	logger   *zap.Logger
	counters map[string][]prometheus.Counter // by action, and then by result
	bounds   bounds
	shared   bool // the bounds are
}

// total is one for the process, so that a reload forgets nothing.
var total = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy", Subsystem: "registry", Name: "requests_total",
	Help: "Requests to the registry by action (login, mount, pull, push, delete, catalog, none) and result " +
		"(done, challenged, refused, throttled, rejected, failed). A login or a mount is counted when it is refused.",
}, []string{"action", "result"})

// Collector returns the counters of this process, caddy_registry_requests_total.
func Collector() prometheus.Collector { return total }

// named stands for a module of the logger's name: Caddy decides by the name of a
// module which logs have its lines.
type named struct{}

// CaddyModule returns the name.
func (named) CaddyModule() caddy.ModuleInfo { return caddy.ModuleInfo{ID: LoggerName} }

// New returns the audit of a config, to be released after it.
func New(ctx caddy.Context) (*Log, error) {
	registry := ctx.GetMetricsRegistry()
	if err := registry.Register(total); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		return nil, err
	}
	value, _, err := shared.LoadOrNew(boundsKey, func() (caddy.Destructor, error) { return newBounds(), nil })
	if err != nil {
		return nil, err
	}
	l := NewLog(ctx.Logger(named{}))
	l.bounds, l.shared = value.(bounds), true
	return l, nil
}

// Release lets go of what an audit shares with others. Whoever has called New calls
// it in Cleanup, once; it does nothing for nil.
func (l *Log) Release() {
	if l != nil && l.shared {
		_, _ = shared.Delete(boundsKey) // Destruct can't fail
	}
}

// NewLog returns an audit that writes to a logger, with bounds of its own.
func NewLog(logger *zap.Logger) *Log {
	l := &Log{logger: logger, bounds: newBounds(), counters: make(map[string][]prometheus.Counter, len(actions))}
	for _, action := range actions {
		for _, result := range results {
			// Made now, they cost a request no search.
			l.counters[action] = append(l.counters[action], total.WithLabelValues(action, result))
		}
	}
	return l
}

// Count counts a request that is not worth a line.
func (l *Log) Count(action string, result Result) {
	counters := l.counters[action]
	if counters == nil {
		counters = l.counters["none"]
	}
	counters[result].Inc()
}

// Write counts an event, and writes it down.
func (l *Log) Write(e Event) {
	l.Count(e.Action, e.Result)
	var leftOut int64
	if bound := l.bounds.of(e); bound != nil && !e.Verified {
		if !bound.Allow() {
			bound.left.Add(1)
			return
		}
		leftOut = bound.left.Swap(0)
	}
	fields := make([]zap.Field, 0, 14)
	// The address comes before all that a client can choose.
	fields = append(fields, zap.String("addr", e.Addr), zap.String("user", clip(e.User)))
	for _, f := range []struct{ name, value string }{
		{"repository", e.Repository}, {"reference", e.Reference}, {"tags", strings.Join(e.Tags, ",")}, {"from", e.From},
		{"digest", e.Digest}, {"reason", e.Reason},
	} {
		if f.value != "" {
			fields = append(fields, zap.String(f.name, clip(f.value)))
		}
	}
	if e.Bytes > 0 {
		fields = append(fields, zap.Int64("bytes", e.Bytes))
	}
	if e.Duration > 0 {
		fields = append(fields, zap.Duration("duration", e.Duration))
	}
	if leftOut > 0 {
		fields = append(fields, zap.Int64("left_out", leftOut)) // lines of this result before this one
	}
	fields = append(fields, zap.Int("status", e.Status), zap.String("action", e.Action), zap.Stringer("result", e.Result))
	l.logger.Info(e.Action+" "+e.Result.String(), fields...)
}

// Address returns where r comes from, as the server's trusted_proxies have it: in
// one form, whichever a proxy has written. It is "" for a client on a Unix socket.
func Address(r *http.Request) string {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	return addr.Unmap().WithZone("").String()
}

// clip shortens what a client sent, and leaves nothing in it that a terminal or a
// line of text would take for more than a character. (The encoders of JSON escape
// the controls of ASCII alone.)
func clip(s string) string {
	if len(s) > longest {
		s = s[:longest] + "…"
	}
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return unicode.ReplacementChar
		}
		return c
	}, s)
}
