package doctor

import "context"

func lookClock(context.Context, *patient) Finding { return unknown("", "not written yet") }
