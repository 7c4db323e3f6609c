//go:build !linux

package ddnsipv6

import (
	"context"
	"errors"
)

func defaultRoutes(context.Context) ([]Route, error) { return nil, errors.ErrUnsupported }
