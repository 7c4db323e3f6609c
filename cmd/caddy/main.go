// Command caddy is Caddy with this project's modules, for `go run`: the quick
// start, development and tests. Releases are built with xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddy-nas/caddy-nas-registry"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
