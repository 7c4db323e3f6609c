package testenv

import (
	"net/http"
	"strings"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/gorilla/mux"
)

var router = v2.Router()

// Acts returns what the reference registry does with a request, as its own router
// reads it: "pull alice/app", and for a mount "pull" of the other repository, too.
func Acts(r *http.Request) (acts []string) {
	var match mux.RouteMatch
	if !router.Match(r, &match) || match.Vars["name"] == "" {
		return nil
	}
	act := "push"
	switch route := match.Route.GetName(); {
	case strings.HasPrefix(route, v2.RouteNameBlobUpload):
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		act = "pull"
	case r.Method == http.MethodDelete:
		act = "delete"
	}
	acts = []string{act + " " + match.Vars["name"]}
	// The registry mounts for a POST to an upload's own address, too.
	if r.Method == http.MethodPost && r.FormValue("mount") != "" {
		acts = append(acts, "pull "+r.FormValue("from"))
	}
	return acts
}
