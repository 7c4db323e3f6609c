package doctor

// steps are the headings: the way of the data, and before it what all need.
var steps = [...]string{
	"This machine",
	"1  The address reaches the name",
	"2  The certificate is obtained",
	"3  The certificate is served",
	"4  Clients connect",
	"5  Requests reach the registry",
}

// checks are all, each after those that it needs.
var checks = []check{
	{step: 0, id: "config", title: "Configuration", look: lookConfig},
	{step: 0, id: "clock", title: "Clock", applies: (*patient).isPublic, look: lookClock},
	{step: 0, id: "port", title: "Port", look: lookPort},
	{step: 0, id: "caddy", title: "Caddy", needs: []string{"port"}, look: lookCaddy},

	{step: 1, id: "route", title: "Default route", applies: (*patient).isPublic, look: lookRoute},
	{step: 1, id: "address", title: "Address", needs: []string{"route"}, applies: (*patient).isPublic, look: lookAddress},
	{step: 1, id: "dns", title: "Name servers", applies: (*patient).isPublic, look: lookDNS},
	{step: 1, id: "dns_authority", title: "AAAA record", needs: []string{"address", "dns"}, applies: (*patient).isPublic, look: lookDNSAuthority},
	{step: 1, id: "dns_foreign", title: "No foreign AAAA record", needs: []string{"dns_authority"}, applies: (*patient).isPublic, look: lookDNSForeign},
	{step: 1, id: "dns_ipv4", title: "No A record", needs: []string{"dns"}, applies: (*patient).isPublic, look: lookDNSIPv4},
	{step: 1, id: "dns_resolver", title: "Resolver", needs: []string{"dns_authority"}, applies: (*patient).isPublic, look: lookDNSResolver},

	{step: 2, id: "credentials", title: "Credentials", applies: (*patient).hasCredentials, inside: true, look: lookCredentials},
	{step: 2, id: "provider", title: "Login at the DNS provider", needs: []string{"credentials"}, applies: (*patient).mayLogin, look: lookProvider},
	{step: 2, id: "acme", title: "Certificate authority", needs: []string{"caddy"}, applies: (*patient).hasACME, look: lookACME},

	{step: 3, id: "tls", title: "TLS", needs: []string{"caddy"}, look: lookTLS},
	{step: 3, id: "certificate", title: "Certificate", needs: []string{"tls"}, look: lookCertificate},
	{step: 3, id: "chain", title: "Chain of trust", needs: []string{"tls"}, look: lookChain},

	{step: 4, id: "challenge", title: "Request for a password", needs: []string{"tls"}, look: lookChallenge},
	{step: 4, id: "connection", title: "Connection by name", needs: []string{"dns_resolver", "certificate", "chain", "challenge"}, applies: (*patient).isPublic, look: lookConnection},

	{step: 5, id: "docker", title: "Docker", applies: (*patient).hasDocker, inside: true, look: lookDocker},
	{step: 5, id: "container", title: "Container", needs: []string{"docker"}, applies: (*patient).hasDocker, look: lookContainer},
	{step: 5, id: "registry", title: "Registry", needs: []string{"container"}, applies: (*patient).hasRegistry, inside: true, look: lookRegistry},
	{step: 5, id: "users", title: "Users", inside: true, look: lookUsers},
	{step: 5, id: "user", title: "Login as a user", needs: []string{"users", "challenge", "registry"}, applies: (*patient).hasUser, look: lookUser},
}
