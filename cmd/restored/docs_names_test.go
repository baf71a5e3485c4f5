package main

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"restored/config"
)

// documents are the texts for people, by their paths in the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	return textsOf(t, "*.md", "docs/*.md", "docs/decisions/*.md")
}

// textsOf are the files that match patterns, each of which matches some, by their paths in the repository.
func textsOf(t *testing.T, patterns ...string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			texts[strings.TrimPrefix(filepath.ToSlash(f), "../../")] = string(text)
		}
	}
	return texts
}

// Every command with its whole --help.
func TestDocsCommands(t *testing.T) {
	root := newRoot()
	root.InitDefaultCompletionCmd()
	var table, helps bytes.Buffer
	for _, c := range allCommands(root) {
		name := c.CommandPath()
		var help, stderr bytes.Buffer
		args := append(strings.Fields(name)[1:], "--help")
		if code := execute(t.Context(), args, &help, &stderr); code != exitOK || stderr.Len() > 0 {
			t.Errorf("%s --help: %d, %s", name, code, &stderr)
		}
		anchor := strings.ReplaceAll(name, " ", "-")
		table.WriteString("| [`" + name + "`](#" + anchor + ") | " + c.Short + " |\n")
		helps.WriteString("\n## " + name + "\n\n```\n" + strings.TrimSpace(help.String()) + "\n```\n")
	}
	text := "# Commands\n\nMade from the code (`go test ./cmd/restored -run Docs -update`); `man restored-run` and so on say the same.\n\n" +
		"| command | what it does |\n|---|---|\n"
	generated(t, "docs/commands.md", slices.Concat([]byte(text), table.Bytes(), helps.Bytes()))
}

var (
	linkTarget = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	testName   = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
	codeSpan   = regexp.MustCompile("`([^`\n]+)`")
	fenced     = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	slugDrops  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// slugs are the anchors of a document's headings.
func slugs(text string) []string {
	var all []string
	for line := range strings.Lines(fenced.ReplaceAllString(text, "")) {
		if title := strings.TrimLeft(line, "#"); title != line {
			all = append(all, strings.ReplaceAll(slugDrops.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-"))
		}
	}
	return all
}

// What the documents point to is there: files, headings, tests.
func TestDocsLinks(t *testing.T) {
	texts := documents(t)
	tests := goTests(t)
	for name, text := range texts {
		for _, m := range linkTarget.FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			if !exists(filepath.Join("../..", target)) {
				t.Errorf("%s links to %s, which isn't there", name, target)
			} else if anchor != "" && !slices.Contains(slugs(texts[target]), anchor) {
				t.Errorf("%s links to %s in %s, which has no such heading", name, anchor, target)
			}
		}
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s names %s, and there is no such test", name, m[1])
			}
		}
		for _, m := range codeSpan.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			switch dir, _, sub := strings.Cut(m[1], "/"); {
			case !sub || dir == "" || strings.ContainsAny(m[1], " *$") || !slices.Contains([]string{".go", ".sh", ".py", ".md", ".service"}, path.Ext(m[1])):
			case exists(filepath.Join("../..", dir)) && !exists(filepath.Join("../..", m[1])):
				t.Errorf("%s names the file %s, which isn't there", name, m[1])
			}
		}
	}
}

// goTests are the names of all tests.
func goTests(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir("../..", func(file string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasPrefix(e.Name(), ".") && e.Name() != "..":
			return fs.SkipDir
		case !strings.HasSuffix(file, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(file)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
		return err
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("%d tests, %v", len(found), err)
	}
	return found
}

// The documents and the files for systemd name only commands, flags and keys that exist.
func TestDocsCommandLines(t *testing.T) {
	texts := documents(t)
	for name, text := range textsOf(t, "systemd/*.service", "systemd/restored.yaml", "packaging/deb/p*") {
		texts[name] = strings.ReplaceAll(text, "ExecStart=", "\n")
	}
	root := newRoot()
	root.InitDefaultCompletionCmd()
	keys := config.Reference()
	lines := 0
	for name, text := range texts {
		if name == "docs/commands.md" {
			continue // the code's own words
		}
		for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
			section, rest, dotted := strings.Cut(m[1], ".")
			if dotted && rest != "" && strings.ToLower(rest[:1]) != rest[:1] {
				continue // a name of the code
			}
			isSection := slices.ContainsFunc(keys, func(o config.Option) bool { return strings.HasPrefix(o.Key, section+".") })
			if key, _, _ := strings.Cut(m[1], ":"); dotted && isSection && path.Ext(key) != ".go" && !slices.ContainsFunc(keys, func(o config.Option) bool { return o.Key == key }) {
				t.Errorf("%s names the key %s, which doesn't exist", name, m[1])
			}
		}
		for _, line := range commandLines(text) {
			lines++
			if problem := badLine(root, line); problem != "" {
				t.Errorf("%s: %s: %s", name, strings.Join(line, " "), problem)
			}
		}
	}
	if lines < 50 {
		t.Errorf("only %d command lines were found", lines)
	}
}

// commandLines are the words after `restored` of each command line in code spans, and of each line that begins with one.
func commandLines(text string) [][]string {
	pieces := strings.Split(text, "\n")
	for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
		pieces = append(pieces, m[1])
	}
	var lines [][]string
	for _, piece := range pieces {
		piece, _, _ = strings.Cut(piece, "#")
		for _, command := range strings.FieldsFunc(piece, func(r rune) bool { return strings.ContainsRune(";|>&", r) }) {
			words := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(command))
			if len(words) > 3 && words[0] == "sudo" && words[1] == "-u" {
				words = words[3:]
			}
			if len(words) > 1 && words[0] == "sudo" {
				words = words[1:]
			}
			if len(words) > 1 && slices.Contains([]string{"restored", "bin/restored", "/usr/bin/restored"}, words[0]) {
				lines = append(lines, words[1:])
			}
		}
	}
	return lines
}

// badLine says what is wrong with a command line, or nothing. A line of prose that begins with the program's name isn't one.
func badLine(root *cobra.Command, words []string) string {
	c, rest, err := root.Find(words)
	if err != nil || c == root && !strings.HasPrefix(words[0], "-") {
		if !regexp.MustCompile(`^[a-z]+$`).MatchString(words[0]) || len(words) > 1 && !strings.HasPrefix(words[1], "-") {
			return "" // prose
		}
		return "no such command"
	}
	for _, w := range rest {
		flag, _, _ := strings.Cut(w, "=")
		long, is := strings.CutPrefix(flag, "--")
		if is && long != "help" && long != "version" && c.Flags().Lookup(long) == nil {
			return "no such flag: " + w
		}
	}
	if len(rest) > 0 && c.HasSubCommands() && !strings.HasPrefix(rest[0], "-") && !strings.Contains(rest[0], "|") {
		return "no such command: " + rest[0]
	}
	return ""
}
