// Package synologytest has servers to test clients of Synology's interfaces
// against: the DDNS service of the free names with its DNS server ([Service]),
// and the Web API of DSM 7 ([DSM]).
//
// They are fakes, built from public facts about these interfaces, and were never
// compared with the real ones. Where a fact is not known they do what is hardest
// for a client; where even that is a matter of taste, a comment beginning with
// "Unknown:" says what was chosen.
//
// They are strict. What no client should send (a field that is unknown, missing
// or there twice, a parameter in the wrong format, a password in a query string)
// fails the test, and is answered with an error besides. What can happen to a
// client without a mistake of its own (a wrong password, a session that has
// ended, a name that is not registered) is answered with an error only.
//
// Secrets are new in each test, so that a test can search for them where they
// must not appear.
package synologytest
