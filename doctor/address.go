package doctor

import "context"

func lookRoute(context.Context, *patient) Finding { return unknown("", "not written yet") }

func lookAddress(context.Context, *patient) Finding { return unknown("", "not written yet") }
