package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// checkFile finds what viper would pass over in a file: unknown keys, keys
// given twice, values left empty, sections that are no mappings. It also tells
// the line of each key that is set.
func checkFile(file string, data []byte) (map[string]int, []error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil // an empty file: all defaults
		}
		return nil, []error{fmt.Errorf("configuration: %s: %w", file, err)}
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, []error{fmt.Errorf("configuration: %s: more than one YAML document", file)}
	}
	c := checker{file: file, lines: map[string]int{}}
	c.mapping("", doc.Content[0])
	return c.lines, c.problems
}

type checker struct {
	file     string
	lines    map[string]int
	problems []error
}

func (c *checker) add(n *yaml.Node, key, format string, args ...any) {
	c.problems = append(c.problems, &Error{
		Key:    key,
		Origin: fmt.Sprintf("%s:%d", c.file, n.Line),
		Reason: fmt.Sprintf(format, args...),
	})
}

// mapping checks the keys of a section; prefix is "" or ends in a dot.
func (c *checker) mapping(prefix string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // a section whose lines are all commented out
	}
	if n.Kind != yaml.MappingNode {
		name := strings.TrimSuffix(prefix, ".")
		if name == "" {
			name = "configuration"
		}
		c.add(n, name, "must be a mapping of keys to values")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := prefix + name.Value
		if seen[key] {
			c.add(name, key, "given twice")
			continue
		}
		seen[key] = true
		c.lines[key] = name.Line
		switch {
		case key == "watch":
			c.watch(value)
		case key == "profiles":
			c.profiles(value)
		case !strings.Contains(name.Value, ".") && known(key):
			if value.Tag == "!!null" {
				c.add(value, key, "has no value; give one, or remove the line for the default")
			}
		case prefix == "" && slices.Contains(sections(), name.Value):
			c.mapping(key+".", value)
		default:
			c.add(name, key, "%s", unknownKey(key))
		}
	}
}

func (c *checker) watch(n *yaml.Node) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		c.add(n, "watch", "must be a list of {in: FOLDER, out: FOLDER}")
		return
	}
	names := watchNames()
	for i, entry := range n.Content {
		key := fmt.Sprintf("watch[%d]", i)
		c.lines[key] = entry.Line
		if entry.Kind != yaml.MappingNode {
			c.add(entry, key, "must be a mapping with in and out")
			continue
		}
		seen := map[string]bool{}
		for j := 0; j+1 < len(entry.Content); j += 2 {
			name := entry.Content[j]
			c.lines[key+"."+name.Value] = name.Line
			switch {
			case !slices.Contains(names, name.Value):
				c.add(name, key+"."+name.Value, "unknown key%s", suggest(name.Value, names))
			case seen[name.Value]:
				c.add(name, key+"."+name.Value, "given twice")
			}
			seen[name.Value] = true
		}
	}
}

// sections are the first parts of the dotted keys.
func sections() []string {
	var out []string
	for _, o := range options {
		if name, _, ok := strings.Cut(o.key, "."); ok && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func unknownKey(key string) string {
	names := append([]string{"watch", "profiles"}, sections()...)
	for _, o := range options {
		names = append(names, o.key)
	}
	return "unknown key" + suggest(key, names)
}
