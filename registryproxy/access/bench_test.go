package access

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func benchmarkHandler(b *testing.B) *Handler {
	return newHandler(b, map[string][]string{"ci": {"bob", "alice"}},
		allow("alice", "pull", "shared/*", "other/**"), allow("@ci", "pull,push", "team/**"))
}

func BenchmarkJudge(b *testing.B) {
	h := benchmarkHandler(b)
	for name, target := range map[string]struct{ method, uri string }{
		"blob":   {http.MethodGet, "/v2/team/app/blobs/" + emptyDigest},
		"upload": {http.MethodPatch, "/v2/team/app/blobs/uploads/x?_state=abcdefghijklmnopqrstuvwxyz"},
		"mount":  {http.MethodPost, "/v2/team/app/blobs/uploads/?mount=" + emptyDigest + "&from=shared/x"},
	} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(target.method, target.uri, nil)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := h.judge(r, "alice"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkServeHTTP(b *testing.B) {
	h := benchmarkHandler(b)
	next := handlerFunc(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	r := httptest.NewRequest(http.MethodGet, "/v2/team/app/blobs/"+emptyDigest, nil)
	r = caddyRequest(httptest.NewRecorder(), r, "alice")
	w := &page{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		if err := h.ServeHTTP(w, r, next); err != nil {
			b.Fatal(err)
		}
	}
}
