package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"restored/config"
	"restored/restore"
)

var update = flag.Bool("update", false, "write the generated documents instead of comparing them")

// generated compares a document with what the code says, or writes it.
func generated(t *testing.T, path string, want []byte) {
	t.Helper()
	path = filepath.Join("..", "..", path)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s doesn't say what the code says: run `go test ./cmd/restored -run Docs -update`", path)
	}
}

func TestDocsConfiguration(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`# Configuration

Made from the code (` + "`go test ./cmd/restored -run Docs -update`" + `). A value comes from, each over the one
before: the default, the file (` + "`--config FILE`" + `, YAML, sections nested at the dots), the environment, the flags.
An unknown key, a wrong type or a value out of range is an error that names it.

| key | default | environment, flag | meaning |
|---|---|---|---|
`)
	for _, o := range config.Reference() {
		name := "`" + o.Env + "`"
		for _, s := range settingFlags {
			if s.key == o.Key {
				name += ", `--" + s.flag + "`"
			}
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", o.Key, o.Default, name, strings.ReplaceAll(o.Doc, "|", "\\|"))
	}
	b.WriteString(`
` + "`watch`" + ` is a list of folders, each a mapping with these keys ([the sample](../systemd/restored.yaml) shows one):

| key | default | meaning |
|---|---|---|
`)
	for _, o := range config.WatchReference() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", o.Key, o.Default, strings.ReplaceAll(o.Doc, "|", "\\|"))
	}
	b.WriteString(`
A pattern without a slash (but one at its end) matches at any depth, another one from the watched folder on; ` + "`**`" + ` stands
for any folders, ` + "`/`" + ` at the end for folders only, ` + "`!`" + ` takes back what an earlier pattern has matched. Capitals count.
What is taken has to match ` + "`include`" + `, where that is given, and must not match ` + "`exclude`" + `; nothing in an excluded
folder can be taken back. Never taken are hidden names (` + "`.…`" + `), temporaries of browsers, copying programs and editors
(` + "`.part`, `.crdownload`, `.tmp`, `…~`" + ` and the like) and the bins and thumbnails of storage systems (` + "`@eaDir`, `#recycle`" + `, …).
`)
	b.WriteString(`
` + "`profiles`" + ` is a mapping of names to profiles. A profile sets keys of ` + "`restore`, `detect`, `identity`, `photo` and `video`" + ` (all but
` + "`video.stall`" + `) for the watched folders that name it; what it doesn't set is as outside it, and it wins over the
environment and the flags, too:

` + "```yaml" + `
profiles:
  archive:
    restore: {blend: 0.7}
    video: {quality: 14}
watch:
  - {in: /srv/films/in, out: /srv/films/out, profile: archive}
` + "```" + `

Each process that works on files makes an engine for each profile that it meets, and keeps it: count its memory for each.
`)
	generated(t, "docs/configuration.md", b.Bytes())
}

func TestDocsModels(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`# Models

Made from the code (` + "`go test ./cmd/restored -run Docs -update`" + `).

A restoring network is an ONNX file. PLTrans-S is part of the binary; others lie as ` + "`NAME.onnx`" + ` in the folder of
models (` + "`paths.models`" + `, where dlib's models lie too) and are chosen by name: ` + "`restore.model: NAME`" + `, ` + "`--model NAME`" + `, or
by a path that ends in ` + "`.onnx`" + `.

` + "```" + `
restored models list                # what is known, and what is here
restored models info codeformer     # licence, source, checksum; inputs and outputs once it is here
restored models pull --accept-licence codeformer
restored models verify codeformer   # restores a known face: is the result that face?
restored models add mine.onnx       # a file of your own
` + "```" + `

| name | what it is | side | MB | licence |
|---|---|---|---|---|
`)
	for _, e := range restore.Registry() {
		licence := e.Licence
		if e.LicenceURL != "" {
			licence = "[" + e.Licence + "](" + e.LicenceURL + ")"
		}
		if e.Terms != "" {
			licence += "; to be accepted"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %d | %s | %s |\n", e.Name, e.Title, e.Size, orDash(number(e.Bytes/1e6)), licence)
	}
	b.WriteString(`
- **Checksums** are those that others have published for the same addresses. None is called verified before a download
  of ours has matched it; a file that doesn't match is refused (` + "`--sha256`" + ` names another one, ` + "`--url`" + ` a mirror).
- **A download** that breaks off goes on where it stopped, by the same command too. The file appears only complete.
  Only HTTPS is used, through the proxy of ` + "`HTTPS_PROXY`" + `, if any.
- **Licences** that ask for something are shown and must be accepted before the model is used; ` + "`NAME.json`" + ` beside the
  model remembers it. A model that was copied there by hand asks for it too: its checksum is known.
- **` + "`verify`" + `** lets the model restore NASA's portrait of Eileen Collins (public domain), shrunk to a quarter and back, and
  checks contrast, colours, nearness to the input and identity. It finds exports in float16 that overflow, wrong ranges,
  swapped colours and wrong templates.
- **` + "`add`" + `** reads the file: its own metadata (` + "`restored.spec`" + `), or the family whose inputs it has, or else its inputs and
  outputs. What it can't tell it assumes and says (template, range, colour order), or asks for (` + "`--input NAME=VALUE`" + `).
`)
	generated(t, "docs/models.md", b.Bytes())
}

// allCommands are a command and those below it, without the hidden ones.
func allCommands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, allCommands(sub)...)
		}
	}
	return all
}

func TestDocsManual(t *testing.T) {
	root := newRoot()
	root.DisableAutoGenTag = true
	for _, c := range allCommands(root) {
		c.DisableAutoGenTag = true
		var b bytes.Buffer
		header := &doc.GenManHeader{Section: "1", Source: "restored", Manual: "restored"}
		if err := doc.GenMan(c, header, &b); err != nil {
			t.Fatal(err)
		}
		// The date of the build has no place in a file that is compared.
		lines := strings.Split(b.String(), "\n")
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, ".TH") })
		lines[i] = fmt.Sprintf(`.TH "%s" "1" "" "restored" "restored"`, strings.ToUpper(strings.ReplaceAll(c.CommandPath(), " ", "-")))
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		generated(t, filepath.Join("docs/man", name), []byte(strings.Join(lines, "\n")))
	}
}

// The README names only commands, flags and keys that exist, and every exit
// code and command that does is in the help.
func TestDocsReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(readme)
	root := newRoot()
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" `\n()|,;", r) }) {
		if flag, ok := strings.CutPrefix(word, "--"); ok && strings.Trim(flag, "-") != "" && flag != "help" {
			found := false
			for _, c := range allCommands(root) {
				found = found || c.Flags().Lookup(flag) != nil
			}
			if !found {
				t.Errorf("README names --%s, which no command takes", flag)
			}
		}
		section, _, dotted := strings.Cut(word, ".")
		known := slices.ContainsFunc(config.Reference(), func(o config.Option) bool { return o.Key == word })
		isSection := slices.ContainsFunc(config.Reference(), func(o config.Option) bool { return strings.HasPrefix(o.Key, section+".") })
		if dotted && isSection && !known {
			t.Errorf("README names the key %s, which doesn't exist", word)
		}
	}
	for _, target := range []string{"make demo", "make test"} {
		if !strings.Contains(text, target) {
			t.Errorf("README lacks %q", target)
		}
	}
	var help bytes.Buffer
	root.SetOut(&help)
	if err := root.Help(); err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{exitOK, exitFailed, exitUsage, exitSetup, exitInterrupted} {
		if !strings.Contains(help.String(), fmt.Sprintf("\n  %-4d ", code)) {
			t.Errorf("--help doesn't say exit code %d", code)
		}
	}
}
