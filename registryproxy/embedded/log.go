package embedded

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/sirupsen/logrus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// useCaddyLog leads what the reference registry logs to Caddy's log. It logs
// through the one logger that logrus has for the whole process.
var useCaddyLog = sync.OnceFunc(func() {
	logrus.SetOutput(io.Discard)
	logrus.AddHook(logHook{})
})

// currentLogger is Caddy's default logger as the running config sets it. What
// outlives a config asks for it each time.
func currentLogger() *zap.Logger { return caddy.Log().Named("http.handlers.registry") }

// logHook passes entries on to Caddy's log.
type logHook struct{}

func (logHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire writes e. Its fields describe the request, which Caddy's access log has
// already, with credentials removed; of them only the error's are kept.
func (logHook) Fire(e *logrus.Entry) error {
	c := currentLogger().Check(levelOf(e), e.Message)
	if c == nil {
		return nil
	}
	var fields []zap.Field
	for key, value := range e.Data {
		if strings.HasPrefix(key, "err.") || key == logrus.ErrorKey || key == "vars.name" {
			fields = append(fields, zap.String(key, fmt.Sprint(value)))
		}
	}
	c.Write(fields...)
	return nil
}

// levelOf keeps failures at their level. The rest, a blob that is not there
// included, is daily business.
func levelOf(e *logrus.Entry) zapcore.Level {
	code := fmt.Sprint(e.Data["err.code"])
	if e.Level <= logrus.ErrorLevel && (code == "<nil>" || code == "unknown") {
		return zapcore.ErrorLevel
	}
	return zapcore.DebugLevel
}
