package synologytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// kind is what a parameter's value has to be.
type kind int

const (
	isText   kind = iota + 1 // as it is, in APIs that are not JSON
	isString                 // the others are of JSON
	isBool
	isStrings
	isObjects
	optional kind = 1 << 8 // may be left out
)

func (k kind) String() string {
	return [...]string{isText: "text", isString: "a string", isBool: "a boolean",
		isStrings: "an array of strings", isObjects: "an array of objects"}[k&^optional]
}

// decode returns a parameter's value.
func (k kind) decode(raw string) (any, error) {
	if k&^optional == isText {
		return raw, nil
	}
	value, err := decodeJSON(raw)
	if err != nil {
		return nil, err
	}
	var ok bool
	switch k &^ optional {
	case isString:
		_, ok = value.(string)
	case isBool:
		_, ok = value.(bool)
	case isStrings:
		ok = all[string](value)
	case isObjects:
		ok = all[map[string]any](value)
	}
	if !ok {
		return value, fmt.Errorf("is not %v", k)
	}
	return value, nil
}

func all[T any](value any) bool {
	list, ok := value.([]any)
	for _, element := range list {
		if _, is := element.(T); !is {
			return false
		}
	}
	return ok
}

func decodeJSON(raw string) (value any, err error) {
	decoder := json.NewDecoder(strings.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("is not JSON: more than one value")
	}
	return value, nil
}
