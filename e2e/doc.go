// Package e2e tests the house as a whole. All is in its tests; they need root,
// network namespaces, a Docker engine with the images registry:3 and that of
// xcaddy.Dockerfile, and minutes:
//
//	docker compose build
//	REQUIRE=docker,namespaces,programs,time,root go test -count=1 ./e2e
//
// The image is caddy-nas-registry, or what CADDY_IMAGE names. It is not built by
// the tests: after a change, build it again. Go's cache of results doesn't know of
// the image, hence -count=1.
//
// Each test builds a house of its own, of machines that are namespaces of the
// kernel, with a cable between each two:
//
//	the internet ── router ──┬── NAS: an engine, with the registry on its bridge
//	                         │        and Caddy in the host's network
//	                         └── client: another engine
//
// The internet is the test itself, in a network namespace: a root name server,
// Pebble in the place of Let's Encrypt, Synology's service as package synologytest
// fakes it, all under their own names and behind a certificate authority that the
// test made. Machines trust that one alone, which is the only thing in the house
// that is not as at home: the shipped files run as they are, set by environment
// variables.
//
// Both engines are in namespaces, with an address space, a /run and processes of
// their own: that works wherever this was tried, so there is no second way with the
// NAS as the host itself, which would change the host's firewall and addresses.
// Where it is not allowed the tests are skipped, or fail if REQUIRE lists
// "namespaces" or "root".
package e2e
