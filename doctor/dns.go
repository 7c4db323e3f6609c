package doctor

import "context"

func (p *patient) isPublic() bool { return false }

func lookDNS(context.Context, *patient) Finding { return unknown("", "not written yet") }

func lookDNSAuthority(context.Context, *patient) Finding { return unknown("", "not written yet") }

func lookDNSForeign(context.Context, *patient) Finding { return unknown("", "not written yet") }

func lookDNSIPv4(context.Context, *patient) Finding { return unknown("", "not written yet") }

func lookDNSResolver(context.Context, *patient) Finding { return unknown("", "not written yet") }
