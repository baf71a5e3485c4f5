package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Setting is the effective value of a key and where it came from.
type Setting struct {
	Key    string
	Value  string // as it would stand in the file, without passwords
	Origin string // as in Origins
}

// Settings lists every key with its value and origin, in the order of the
// sample file; each watched folder gives the keys watch[N].in, watch[N].out, …,
// each profile those that it sets.
// Passwords in URLs and secrets are left out.
func (c *Config) Settings(origins Origins) []Setting {
	var out []Setting
	add := func(key, value string) {
		origin := nearest(origins, key)
		if strings.HasPrefix(key, "watch[") && origins[key] == "" {
			origin = "default"
		}
		out = append(out, Setting{key, value, origin})
	}
	if len(c.Watch) == 0 {
		add("watch", "[]")
	}
	for i, w := range c.Watch {
		key := fmt.Sprintf("watch[%d]", i)
		for _, o := range watchOptions {
			add(key+"."+o.name, format(o.value(&w)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		of := c.For(name)
		for _, o := range options {
			if _, set := c.Profiles[name][o.key]; set {
				add("profiles."+name+"."+o.key, format(o.value(of)))
			}
		}
	}
	for _, o := range options {
		add(o.key, c.Shown(o.key))
	}
	return out
}

// Shown is Value without passwords and secrets; "" = there is no such key.
func (c *Config) Shown(key string) string {
	value, _ := c.Value(key)
	switch {
	case key == "notify.url":
		return redactPath(value)
	case strings.HasSuffix(key, ".url"):
		return redact(value)
	case slices.Contains(secretKeys, key) && value != `""`:
		return "…"
	}
	return value
}

// Problems takes an error of [Load] apart into what it joins.
func Problems(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, Problems(e)...)
	}
	return out
}

// Encoders are the values that video.encoder takes.
func Encoders() []string { return slices.Clone(encoders) }
