package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"
)

// text is a value from the environment or a flag, where all is text. A value
// from the file has YAML's type, and a quoted number there is no number.
type text string

// assign stores a value of the file, or a text, behind an option's pointer.
func assign(p, given any) error {
	var ok bool
	var want string
	switch p := p.(type) {
	case *string:
		ok, want = set(p, given, func(s text) (string, error) { return string(s), nil }), "text (put it in quotes)"
	case *bool:
		ok, want = set(p, given, parseBool), "true or false"
	case *int:
		ok, want = set(p, given, parseInt), "a whole number"
	case *float64:
		if n, whole := given.(int); whole {
			given = float64(n)
		}
		ok, want = set(p, given, parseFloat), "a number"
	case *Steps:
		n := int(Auto)
		ok, want = given == "auto" || given == text("auto"), "auto or a whole number from 0 to 12"
		if !ok {
			ok = set(&n, given, parseInt) && n >= 0
		}
		*p = Steps(n)
	case *Bytes:
		if n, whole := given.(int); whole {
			given = Bytes(n)
		}
		if s, quoted := given.(string); quoted {
			given = text(s)
		}
		ok, want = set(p, given, parseBytes), `a size, like 1000000, "500MB" or "1GiB"`
	case *time.Duration:
		if s, quoted := given.(string); quoted {
			given = text(s)
		}
		ok, want = set(p, given, func(s text) (time.Duration, error) { return time.ParseDuration(string(s)) }),
			`a time with its unit, like "500ms", "2s" or "10m"`
	case *[]string:
		ok, want = setList(p, given), `a list of texts, like ["a", "b"]`
	default:
		return fmt.Errorf("option of type %T", p)
	}
	if !ok {
		return errors.New("must be " + want)
	}
	return nil
}

// set stores given if it has the pointer's type, or is text that parses.
func set[T any](p *T, given any, parse func(text) (T, error)) bool {
	switch g := given.(type) {
	case T:
		*p = g
		return true
	case text:
		v, err := parse(g)
		if err != nil {
			return false
		}
		*p = v
		return true
	}
	return false
}

// setList stores a list of the file, or one in YAML as text. An empty one is nil.
func setList(p *[]string, given any) bool {
	if s, ok := given.(text); ok {
		var list []any
		if err := yaml.Unmarshal([]byte(s), &list); err != nil {
			return false
		}
		given = list
	}
	list, ok := given.([]any)
	if !ok {
		return false
	}
	texts := make([]string, len(list))
	for i, item := range list {
		if texts[i], ok = item.(string); !ok {
			return false
		}
	}
	if *p = nil; len(texts) > 0 {
		*p = texts
	}
	return true
}

func parseBool(s text) (bool, error) {
	if s != "true" && s != "false" {
		return false, errors.New("neither true nor false")
	}
	return s == "true", nil
}

func parseInt(s text) (int, error) { return strconv.Atoi(string(s)) }

func parseFloat(s text) (float64, error) {
	f, err := strconv.ParseFloat(string(s), 64)
	if err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
		err = errors.New("not a finite number")
	}
	return f, err
}

// show writes a refused value for an error message.
func show(given any) string {
	switch g := given.(type) {
	case string:
		return strconv.Quote(g)
	case text:
		return strconv.Quote(string(g))
	}
	return fmt.Sprint(given)
}
