package access

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
)

// get sends a GET through front and returns the answer.
func get(front http.Handler, uri, user string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, uri, nil)
	if user != "" {
		r.SetBasicAuth(user, "")
	}
	w := httptest.NewRecorder()
	front.ServeHTTP(w, r)
	return w
}

// listCatalog follows the pages of the catalog, as a client would.
func listCatalog(t *testing.T, front http.Handler, uri, user string) (names []string, pages int) {
	t.Helper()
	for uri != "" {
		if pages++; pages > 100 {
			t.Fatal("the pages don't end")
		}
		w := get(front, uri, user)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: status %d, %s", uri, w.Code, w.Body)
		}
		var answer catalogAnswer
		if err := json.NewDecoder(w.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		names = append(names, answer.Repositories...)
		uri, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
	}
	return names, pages
}

func TestCatalog(t *testing.T) {
	var all, team []string
	for i := range 12 {
		all = append(all, fmt.Sprintf("other/r%02d", i))
	}
	for i := range 12 {
		team = append(team, fmt.Sprintf("team/r%02d", i))
	}
	all = append(append(all, team...), "zoo/public")

	rules := []Rule{
		allow("admin", "pull", "**"),
		allow("alice", "pull", "team/*"),
		allow("bob", "catalog", "team/r0*"),
		allow("carol", "push,delete", "**"),
		allow("anonymous", "pull", "zoo/*"),
	}
	users := []struct {
		name string
		want []string
	}{
		{"admin", all},
		{"alice", append(append([]string(nil), team...), "zoo/public")},
		{"bob", append(append([]string(nil), team[:10]...), "zoo/public")},
		{"carol", []string{"zoo/public"}},
		{"mallory", []string{"zoo/public"}},
		{"", []string{"zoo/public"}},
	}
	for _, maxCatalog := range []int{1000, 5} { // a registry may have its own, low limit
		registry := newRegistry(t, maxCatalog)
		push(t, registry, all...)
		upstream := httptest.NewServer(registry)
		defer upstream.Close()
		for name, next := range map[string]caddyhttp.Handler{
			"in this process": handlerFunc(registry),
			"behind a proxy":  proxyTo(t, upstream.URL),
		} {
			front := serve(newHandler(t, nil, rules...), "", next)
			for _, user := range users {
				for _, n := range []int{0, 1, 3, 5, 100} {
					uri := "/v2/_catalog"
					if n > 0 {
						uri += "?n=" + strconv.Itoa(n)
					}
					t.Run(fmt.Sprintf("limit %d/%s/%s/n=%d", maxCatalog, name, user.name, n), func(t *testing.T) {
						if n > maxCatalog {
							if w := get(front, uri, user.name); w.Code != http.StatusBadRequest {
								t.Errorf("status %d, want the registry's own 400", w.Code)
							}
							return
						}
						got, pages := listCatalog(t, front, uri, user.name)
						if diff := cmp.Diff(user.want, got); diff != "" {
							t.Errorf("catalog (-want +got):\n%s", diff)
						}
						if n > 0 && pages > len(user.want)/n+1 {
							t.Errorf("%d pages for %d names", pages, len(user.want))
						}
					})
				}
			}
		}
	}
}

// TestCatalogLikeTheRegistry compares answers for a restricted user with those
// of the registry: clients must not see a difference.
func TestCatalogLikeTheRegistry(t *testing.T) {
	registry := newRegistry(t, 1000)
	push(t, registry, "a", "b/c", "d")
	front := serve(newHandler(t, nil, allow("alice", "pull", "*", "*/**")), "", handlerFunc(registry))
	for _, query := range []string{
		"", "?n=0", "?n=1", "?n=2", "?n=3", "?n=10", "?n=", "?n=+1", "?last=a", "?n=1&last=a", "?last=d", "?last=zzz", "?n=1&last=b%2Fc",
		"?n=-1", "?n=x", "?n=1001", "?n=99999999999999999999",
	} {
		t.Run(query, func(t *testing.T) {
			want := httptest.NewRecorder()
			registry.ServeHTTP(want, httptest.NewRequest(http.MethodGet, "/v2/_catalog"+query, nil))
			got := get(front, "/v2/_catalog"+query, "alice")
			if got.Code != want.Code {
				t.Fatalf("status %d, want %d", got.Code, want.Code)
			}
			if want.Code != http.StatusOK {
				if code, _ := readError(t, got.Body); code != "PAGINATION_NUMBER_INVALID" {
					t.Errorf("code %s", code)
				}
				return
			}
			if diff := cmp.Diff(want.Body.String(), got.Body.String()); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			for _, name := range []string{"Content-Type", "Docker-Distribution-Api-Version"} {
				if got, want := got.Header().Get(name), want.Header().Get(name); got != want {
					t.Errorf("%s: %s, want %s", name, got, want)
				}
			}
			// The registry names a next page where it can't know that there is
			// none; we may do without. What both name is the same.
			g, w := got.Header().Get("Link"), want.Header().Get("Link")
			if g != "" && !sameLink(t, g, w) || g == "" && w != "" && !strings.Contains(want.Body.String(), `"d"`) {
				t.Errorf("Link: %s, want %s", g, w)
			}
		})
	}
}

func sameLink(t *testing.T, a, b string) bool {
	t.Helper()
	parse := func(link string) string {
		target, _, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		return u.Path + "?" + u.Query().Encode()
	}
	return parse(a) == parse(b)
}

// catalogRegistry answers the n-th request for a catalog as pages says.
func catalogRegistry(pages func(request int) (status int, link, body string)) (next caddyhttp.Handler, requests *int) {
	requests = new(int)
	return handlerFunc(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		status, link, body := pages(*requests)
		*requests++
		if link != "" {
			w.Header().Set("Link", link)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})), requests
}

func TestCatalogOfAStrangeRegistry(t *testing.T) {
	const more = `</v2/_catalog?last=x>; rel="next"`
	h := newHandler(t, nil, allow("alice", "pull", "team/*"))
	tests := []struct {
		name   string
		pages  func(int) (int, string, string)
		status int
		most   int // requests to the registry
	}{
		{"the same page for ever", func(int) (int, string, string) {
			return 200, more, `{"repositories":["a","b"]}`
		}, 200, 3},
		{"pages in a circle", func(i int) (int, string, string) {
			return 200, more, fmt.Sprintf(`{"repositories":["r%d"]}`, i%7)
		}, 200, 30},
		{"empty pages for ever", func(int) (int, string, string) { return 200, more, `{"repositories":[]}` }, 200, 1},
		{"null", func(int) (int, string, string) { return 200, "", `{"repositories":null}` }, 200, 1},
		{"not JSON", func(int) (int, string, string) { return 200, "", `<html>` }, 502, 1},
		{"too large", func(int) (int, string, string) {
			return 200, "", `{"repositories":["` + strings.Repeat("x", maxCatalogPage) + `"]}`
		}, 502, 1},
		{"unsupported", func(int) (int, string, string) { return 404, "", `{"errors":[]}` }, 404, 1},
		{"refuses all numbers", func(int) (int, string, string) { return 400, "", `{"errors":[]}` }, 400, 2},
		{"fails later", func(i int) (int, string, string) {
			if i == 0 {
				return 200, more, `{"repositories":["team/a"]}`
			}
			return 503, "", `{"errors":[]}`
		}, 503, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			next, requests := catalogRegistry(test.pages)
			w := get(serve(h, "", next), "/v2/_catalog?n=10", "alice")
			if w.Code != test.status {
				t.Errorf("status %d, want %d: %.200s", w.Code, test.status, w.Body)
			}
			if *requests > test.most {
				t.Errorf("%d requests, want %d at the most", *requests, test.most)
			}
		})
	}
}

// TestCatalogIsBounded asks for more names than fit into one answer.
func TestCatalogIsBounded(t *testing.T) {
	h := newHandler(t, nil, allow("alice", "pull", "*"))
	next, _ := catalogRegistry(func(i int) (int, string, string) {
		names := make([]string, 1000)
		for j := range names {
			names[j] = fmt.Sprintf("r%09d", i*1000+j)
		}
		body, _ := json.Marshal(catalogAnswer{names})
		return 200, `</v2/_catalog>; rel="next"`, string(body)
	})
	w := get(serve(h, "", next), "/v2/_catalog?n=1000000000", "alice")
	var answer catalogAnswer
	if err := json.NewDecoder(w.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Repositories) != maxCatalog || w.Header().Get("Link") == "" {
		t.Errorf("%d names, Link: %s", len(answer.Repositories), w.Header().Get("Link"))
	}
}
