package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

const envPrefix = "RESTORED_"

// Origins tells for each key where its value came from: "default", "file
// PATH:LINE", "environment NAME" or "flag". The watched folders have their
// keys too where they are set: "watch[0]", "watch[0].in", …
type Origins map[string]string

// Error is a value, a key or a variable that was refused.
type Error struct {
	Key    string // the key, or the name of the environment variable
	Value  string // as it was given; "" where the key itself is wrong
	Origin string // as in Origins; "" = unknown
	Reason string // what is wrong and what is allowed
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Key)
	if e.Value != "" {
		fmt.Fprintf(&b, " = %s", e.Value)
	}
	if e.Origin != "" {
		fmt.Fprintf(&b, " (%s)", e.Origin)
	}
	b.WriteString(": ")
	b.WriteString(e.Reason)
	return b.String()
}

// Load puts together the defaults, the file (none if the name is empty), the
// process's environment and the flags (key → value as text, for those that
// were given), and validates the result. The error joins all that was found
// wrong, each an *Error, except that a file that isn't YAML hides the rest.
func Load(file string, flags map[string]string) (*Config, Origins, error) {
	v := viper.New()
	v.SetConfigType("yaml")
	v.AllowEmptyEnv(true)
	cfg := Default()
	var lines map[string]int
	var problems []error

	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, fmt.Errorf("configuration: %w", err)
		}
		if lines, problems = checkFile(file, data); len(problems) > 0 {
			return nil, nil, errors.Join(problems...)
		}
		if err := v.ReadConfig(bytes.NewReader(data)); err != nil {
			return nil, nil, fmt.Errorf("configuration: %s: %w", file, err)
		}
	}
	for _, o := range options {
		if err := v.BindEnv(o.key, envName(o.key)); err != nil {
			return nil, nil, fmt.Errorf("configuration: %s: %w", o.key, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		if !known(key) {
			problems = append(problems, &Error{Key: key, Origin: "flag", Reason: unknownKey(key)})
			continue
		}
		v.Set(key, flags[key])
	}
	problems = append(problems, checkEnviron(os.Environ())...)

	origins := Origins{"watch": "default"}
	for _, o := range options {
		origins[o.key] = origin(v, o.key, inFile(file, lines[o.key]), flags)
		if origins[o.key] == "default" {
			continue
		}
		given := v.Get(o.key)
		if s, ok := given.(string); ok && !strings.HasPrefix(origins[o.key], "file ") {
			given = text(s)
		}
		if err := assign(o.value(&cfg), given); err != nil {
			shown := show(given)
			if slices.Contains(secretKeys, o.key) {
				shown = "…"
			}
			problems = append(problems, &Error{o.key, shown, origins[o.key], err.Error()})
		}
	}
	problems = append(problems, cfg.lists(v, origins, file, lines)...)
	if len(problems) == 0 {
		problems = cfg.problems()
	}
	for _, err := range problems {
		var e *Error
		if errors.As(err, &e) && e.Origin == "" {
			e.Origin = nearest(origins, e.Key)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, nil, err
	}
	return &cfg, origins, nil
}

// lists reads the watched folders and the profiles, which stand only in the file.
func (c *Config) lists(v *viper.Viper, origins Origins, file string, lines map[string]int) (problems []error) {
	for key, line := range lines {
		if strings.HasPrefix(key, "watch") || strings.HasPrefix(key, "profiles") {
			origins[key] = inFile(file, line)
		}
	}
	if v.InConfig("watch") {
		c.Watch, problems = parseWatch(v.Get("watch"))
	}
	profiles, errs := parseProfiles(v.Get("profiles"))
	if len(profiles) > 0 {
		c.Profiles = profiles
	}
	return append(problems, errs...)
}

// inFile is the origin of what stands in a line of the file.
func inFile(file string, line int) string { return fmt.Sprintf("file %s:%d", file, line) }

// nearest is the origin of a key or, where it isn't set itself, of what it
// belongs to: watch[0] for watch[0].out.
func nearest(origins Origins, key string) string {
	for {
		if origin, ok := origins[key]; ok {
			return origin
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			return ""
		}
		key = key[:cut]
	}
}

// origin tells which layer gives the key its value, the uppermost first.
func origin(v *viper.Viper, key, inFile string, flags map[string]string) string {
	if _, ok := flags[key]; ok {
		return "flag"
	}
	if _, ok := os.LookupEnv(envName(key)); ok {
		return "environment " + envName(key)
	}
	if v.InConfig(key) {
		return inFile
	}
	return "default"
}

// checkEnviron refuses variables with our prefix that set nothing: a setting
// that is misspelt must not be lost in silence.
func checkEnviron(environ []string) []error {
	var problems []error
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		names := make([]string, len(options))
		for i, o := range options {
			names[i] = envName(o.key)
		}
		if slices.Contains(names, name) {
			continue
		}
		reason := "no such setting" + suggest(name, names)
		if name == envPrefix+"WATCH" {
			reason = "the watched folders are set in the file, under watch"
		}
		problems = append(problems, &Error{Key: name, Origin: "environment", Reason: reason})
	}
	return problems
}

func known(key string) bool {
	return slices.ContainsFunc(options, func(o option) bool { return o.key == key })
}
