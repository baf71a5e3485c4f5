package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Profile is what a watched folder sets otherwise: keys of the sections restore,
// detect, identity, photo and video, with their values as text.
type Profile map[string]string

// profileSections are those that a profile may set keys of; profileNever are
// keys in them that belong to the daemon as a whole.
var (
	profileSections = []string{"restore", "detect", "identity", "photo", "video"}
	profileNever    = []string{"video.stall"}
	profileName     = regexp.MustCompile(`^[a-z0-9_-]+$`)
)

// For is the configuration with the overrides of a profile; "" has none.
func (c *Config) For(profile string) *Config {
	out := *c
	for _, o := range options {
		if value, ok := c.Profiles[profile][o.key]; ok {
			if err := assign(o.value(&out), text(value)); err != nil {
				panic(fmt.Sprintf("config: profile %s: %s: %v", profile, o.key, err)) // it was made by parseProfiles
			}
		}
	}
	return &out
}

// profiles checks the names and keys of the profiles in a file.
func (c *checker) profiles(n *yaml.Node) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		c.add(n, "profiles", "must be a mapping of names to profiles")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, key := n.Content[i], "profiles."+n.Content[i].Value
		switch {
		case !profileName.MatchString(name.Value):
			c.add(name, key, "the name of a profile is of small letters, digits, - and _")
		case seen[key]:
			c.add(name, key, "given twice")
		case n.Content[i+1].Kind != yaml.MappingNode:
			c.add(name, key, "must be a mapping of sections to their keys")
		default:
			c.lines[key] = name.Line
			c.profile(key+".", n.Content[i+1])
		}
		seen[key] = true
	}
}

// profile checks the keys of one profile; its sections are read as those of
// the file are.
func (c *checker) profile(prefix string, n *yaml.Node) {
	of := checker{file: c.file, lines: map[string]int{}}
	of.mapping("", n)
	for _, err := range of.problems {
		var e *Error
		if errors.As(err, &e) {
			e.Key = prefix + e.Key
		}
		c.problems = append(c.problems, err)
	}
	for _, key := range slices.Sorted(maps.Keys(of.lines)) {
		section, _, _ := strings.Cut(key, ".")
		if !slices.Contains(profileSections, section) || slices.Contains(profileNever, key) {
			c.add(&yaml.Node{Line: of.lines[key]}, prefix+key, "can't be set by a profile, only the keys of %s", strings.Join(profileSections, ", "))
			continue
		}
		c.lines[prefix+key] = of.lines[key]
	}
}

// parseProfiles reads the profiles that checkFile has found well formed.
func parseProfiles(given any) (map[string]Profile, []error) {
	all, _ := given.(map[string]any)
	profiles := map[string]Profile{}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		sections, _ := all[name].(map[string]any)
		profiles[name] = Profile{}
		scratch := Default()
		for _, o := range options {
			section, key, _ := strings.Cut(o.key, ".")
			values, _ := sections[section].(map[string]any)
			value, ok := values[key]
			if !ok {
				continue
			}
			p := o.value(&scratch)
			if err := assign(p, value); err != nil {
				problems = append(problems, &Error{Key: "profiles." + name + "." + o.key, Value: show(value), Reason: err.Error()})
				continue
			}
			profiles[name][o.key] = format(p)
			if s, ok := p.(*string); ok {
				profiles[name][o.key] = *s
			}
		}
	}
	return profiles, problems
}

// profiles checks what each profile makes of the configuration, and that the
// watched folders name profiles that there are.
func (v *validation) profiles(c *Config) {
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		of := c.For(name)
		of.Watch, of.Profiles = nil, nil
		for _, err := range of.problems() {
			var e *Error
			if _, set := c.Profiles[name][keyOf(err)]; set && errors.As(err, &e) {
				e.Key = "profiles." + name + "." + e.Key
				v.problems = append(v.problems, e)
			}
		}
	}
	for i, w := range c.Watch {
		if _, ok := c.Profiles[w.Profile]; !ok && w.Profile != "" {
			v.add(fmt.Sprintf("watch[%d].profile", i), w.Profile,
				"there is no such profile under profiles"+suggest(w.Profile, slices.Sorted(maps.Keys(c.Profiles))))
		}
	}
}

func keyOf(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Key
}
