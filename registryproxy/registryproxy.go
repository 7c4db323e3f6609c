// Package registryproxy provides the directive registry_proxy.
package registryproxy
