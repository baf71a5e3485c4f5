package restore

import (
	"bytes"
	_ "embed" // the registry
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"sync"
)

//go:embed models/registry.json
var registryFile []byte

// An Entry is a restorer that is known by name: what it is, where it comes
// from and on what terms. Its checksum was published by others and is marked
// as verified only when a download of ours has matched it.
type Entry struct {
	Name       string   `json:"name"`
	Family     string   `json:"family"` // of Families
	Title      string   `json:"title"`
	Size       int      `json:"size"` // side of the aligned face in pixels
	BuiltIn    bool     `json:"built_in,omitempty"`
	URLs       []string `json:"urls,omitempty"` // tried in turn
	SHA256     string   `json:"sha256,omitempty"`
	Verified   bool     `json:"verified,omitempty"`
	Bytes      int64    `json:"bytes,omitempty"` // of the file; 0 = not known
	Licence    string   `json:"licence"`
	LicenceURL string   `json:"licence_url,omitempty"`
	Terms      string   `json:"terms,omitempty"` // what a user must accept; "" = nothing
}

// Registry lists the restorers that are known by name, the built-in one first.
func Registry() []Entry { return slices.Clone(readRegistry()) }

var readRegistry = sync.OnceValue(func() []Entry {
	entries, err := parseRegistry(registryFile)
	if err != nil {
		panic("restore: " + err.Error()) // a test reads it
	}
	return entries
})

// Known finds the entry of that name.
func Known(name string) (Entry, bool) {
	return findEntry(func(e Entry) bool { return e.Name == name })
}

// knownHash finds the entry whose file has that checksum.
func knownHash(sha256 string) (Entry, bool) {
	return findEntry(func(e Entry) bool { return e.SHA256 != "" && e.SHA256 == sha256 })
}

func findEntry(f func(Entry) bool) (Entry, bool) {
	all := readRegistry()
	if i := slices.IndexFunc(all, f); i >= 0 {
		return all[i], true
	}
	return Entry{}, false
}

// parseRegistry reads a registry strictly.
func parseRegistry(data []byte) ([]Entry, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var entries []Entry
	if err := d.Decode(&entries); err != nil {
		return nil, fmt.Errorf("registry of models: %w", err)
	}
	if d.More() {
		return nil, errors.New("registry of models: more than one JSON value")
	}
	seen := map[string]bool{}
	for i, e := range entries {
		if err := e.validate(); err != nil {
			return nil, fmt.Errorf("registry of models: entry %d, %q: %w", i+1, e.Name, err)
		}
		if seen[e.Name] {
			return nil, fmt.Errorf("registry of models: %q is named twice", e.Name)
		}
		seen[e.Name] = true
	}
	return entries, nil
}

var (
	modelName = regexp.MustCompile(`^[a-z0-9][a-z0-9._+-]{0,63}$`)
	hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// CheckName refuses what can't be the name of a model: it becomes a file's
// name and an argument.
func CheckName(name string) error {
	if !modelName.MatchString(name) {
		return fmt.Errorf("%q can't name a model: want 1 to 64 of a-z, 0-9, dot, plus, minus and underscore, the first a letter or digit", name)
	}
	return nil
}

func (e Entry) validate() error {
	bad := []error{CheckName(e.Name)}
	if !slices.ContainsFunc(Families, func(s Spec) bool {
		return s.Family == e.Family && s.Size == e.Size || s.Family == e.Family && e.Family == "gpen"
	}) {
		bad = append(bad, fmt.Errorf("no family %q of size %d", e.Family, e.Size))
	}
	if e.Licence == "" {
		bad = append(bad, errors.New("no licence"))
	}
	if e.Bytes < 0 {
		bad = append(bad, fmt.Errorf("%d bytes", e.Bytes))
	}
	if e.BuiltIn {
		return errors.Join(bad...)
	}
	if !hexSHA256.MatchString(e.SHA256) {
		bad = append(bad, fmt.Errorf("sha256 %q isn't 64 hexadecimal digits", e.SHA256))
	}
	if len(e.URLs) == 0 {
		bad = append(bad, errors.New("no URL"))
	}
	for _, raw := range e.URLs {
		if u, err := url.Parse(raw); err != nil || u.Scheme != "https" || u.Host == "" {
			bad = append(bad, fmt.Errorf("%q isn't an https address", raw))
		}
	}
	return errors.Join(bad...)
}
