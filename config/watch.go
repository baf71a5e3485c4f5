package config

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// Watch is one watched folder and where its results go.
type Watch struct {
	In          string   // folder that is watched
	Out         string   // folder that gets the results, under the same relative paths
	Originals   string   // what becomes of the originals: keep, move or delete
	OriginalsTo string   // folder that they are moved to; "" unless Originals is move
	Include     []string // gitignore patterns of the files to take; none = all
	Exclude     []string // gitignore patterns of files and folders that are passed over
	Recursive   bool     // the folders below are watched too
	Poll        bool     // inotify isn't used
	Profile     string   // "" = none
}

func defaultWatch() Watch { return Watch{Originals: "keep", Recursive: true} }

// watchOption is a key of a watched folder and the place of its value.
type watchOption struct {
	name  string
	doc   string
	value func(*Watch) any
}

// watchOptions is the one list of the keys of a watched folder.
var watchOptions = []watchOption{
	{"in", "Folder that is watched. It must not lie within another one, nor within a folder of results.",
		func(w *Watch) any { return &w.In }},
	{"out", "Folder for the results, under the same relative paths. It is made if it is missing.",
		func(w *Watch) any { return &w.Out }},
	{"originals", "What becomes of an original once its result is there and decodes: keep, move (to originals_to) or delete (only with restored serve --delete-originals).",
		func(w *Watch) any { return &w.Originals }},
	{"originals_to", "Folder that originals are moved to, under the same relative paths. What lies there is never replaced.",
		func(w *Watch) any { return &w.OriginalsTo }},
	{"include", "Patterns in gitignore's syntax, relative to the watched folder; only files that match are taken. Empty = all photos and videos.",
		func(w *Watch) any { return &w.Include }},
	{"exclude", "Patterns in gitignore's syntax, relative to the watched folder; files and whole folders that match are passed over.",
		func(w *Watch) any { return &w.Exclude }},
	{"recursive", "Watch the folders below, too.",
		func(w *Watch) any { return &w.Recursive }},
	{"poll", "Only look each rescan, without inotify. Network shares are always polled.",
		func(w *Watch) any { return &w.Poll }},
	{"profile", "Name of a profile under profiles, whose settings count for this folder. Empty = none.",
		func(w *Watch) any { return &w.Profile }},
}

func watchNames() []string {
	names := make([]string, len(watchOptions))
	for i, o := range watchOptions {
		names[i] = o.name
	}
	return names
}

// WatchReference lists the keys of a watched folder. They have no environment
// variables.
func WatchReference() []Option {
	w := defaultWatch()
	out := make([]Option, len(watchOptions))
	for i, o := range watchOptions {
		out[i] = Option{Key: o.name, Default: format(o.value(&w)), Doc: o.doc}
	}
	return out
}

// parseWatch reads the list that checkFile has found well formed.
func parseWatch(given any) ([]Watch, []error) {
	list, _ := given.([]any)
	var watch []Watch
	var problems []error
	for i, item := range list {
		entry, _ := item.(map[string]any)
		w := defaultWatch()
		for _, o := range watchOptions {
			value, ok := entry[o.name]
			if !ok {
				continue
			}
			if err := assign(o.value(&w), value); err != nil {
				problems = append(problems, &Error{Key: fmt.Sprintf("watch[%d].%s", i, o.name), Value: show(value), Reason: err.Error()})
			}
		}
		watch = append(watch, w)
	}
	return watch, problems
}

// watch checks each entry by itself; whether folders nest or are links can
// only be told where they exist, and daemon does so.
func (v *validation) watch(list []Watch) {
	for i, w := range list {
		key := fmt.Sprintf("watch[%d]", i)
		v.text(key+".in", w.In)
		v.text(key+".out", w.Out)
		if w.In != "" && filepath.Clean(w.In) == filepath.Clean(w.Out) {
			v.add(key+".out", w.Out, "must not be the watched folder itself: outputs would be taken as inputs")
		}
		v.oneOf(key+".originals", w.Originals, "keep", "move", "delete")
		if w.Originals == "move" {
			v.text(key+".originals_to", w.OriginalsTo)
		} else if w.OriginalsTo != "" {
			v.add(key+".originals_to", w.OriginalsTo, "is for originals: move")
		}
		v.patterns(key+".include", w.Include)
		v.patterns(key+".exclude", w.Exclude)
		if len(w.Include) > 0 && strings.HasPrefix(w.Include[0], "!") {
			v.add(key+".include[0]", w.Include[0], "takes back what nothing before it has taken; name what to take first, or use exclude")
		}
	}
}

// patterns refuses what gitignore would pass over in silence.
func (v *validation) patterns(key string, list []string) {
	for i, p := range list {
		bad := func(reason string) { v.add(fmt.Sprintf("%s[%d]", key, i), p, reason) }
		body := strings.Trim(strings.TrimPrefix(p, "!"), "/")
		switch {
		case strings.TrimSpace(body) == "":
			bad("must not be empty")
			continue
		case strings.TrimSpace(p) != p:
			bad("must not begin or end with a blank")
			continue
		case strings.ContainsRune(p, 0):
			bad("must not contain a NUL character")
			continue
		}
		for part := range strings.SplitSeq(body, "/") {
			if part == ".." || part == "." {
				bad("is relative to the watched folder and can't lead out of it: remove " + part)
				break
			}
			if _, err := path.Match(part, ""); err != nil {
				bad(`is no pattern of gitignore's syntax: a "[" without its "]", or a "\" at the end`)
				break
			}
		}
	}
}
