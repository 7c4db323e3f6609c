// Package libdnstest runs the suite of libdns's own package libdnstest against
// dnssynology with DSM's Web API, as package synologytest has it.
//
// It is a module of its own, since the suite is in a version of libdns that
// Caddy doesn't use yet: v1.2.0-alpha.1. From the checkout's root:
//
//	go -C dnssynology/libdnstest test ./...
//
// After a change of the main module's requirements: go mod tidy, in this folder.
package libdnstest
