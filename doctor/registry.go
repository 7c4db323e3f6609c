package doctor

import "context"

func (p *patient) hasDocker() bool { return false }

func (p *patient) hasUpstream() bool { return false }

func lookDocker(context.Context, *patient) Finding { return unknown("", "not written yet") }

func lookContainer(context.Context, *patient) Finding { return unknown("", "not written yet") }

func lookRegistry(context.Context, *patient) Finding { return unknown("", "not written yet") }
