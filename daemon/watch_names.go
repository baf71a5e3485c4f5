package daemon

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// The names that are never taken, of files as of folders, in lower case.
var (
	// Hidden files: our temporaries, rsync's, Nextcloud's, those of file managers.
	// "~$" are the locks of office programs, "~syncthing~" its old temporaries.
	ignoredStarts = []string{".", "~$", "~syncthing~"}
	// Editors' copies, and downloads under way: Firefox, curl and yt-dlp; Edge and
	// rclone; Chrome; Safari (a folder); Opera; WinSCP; BitTorrent clients.
	ignoredEnds = []string{
		"~", ".part", ".partial", ".crdownload", ".download", ".opdownload", ".filepart", ".tmp", ".temp",
		".swp", ".aria2", ".ytdl", ".!ut", ".!qb", ".!sync", ".bc!",
	}
	// What stands before the extension while yt-dlp and others put a file together.
	ignoredMiddles = []string{".temp", ".tmp"}
	// Folders of systems and network storage: bins, snapshots, thumbnails.
	ignoredNames = []string{
		"@eadir", "#recycle", "@recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found", "__macosx",
	}
)

// ignored tells whether a file or folder of this name is passed over.
func ignored(name string) bool {
	name = strings.ToLower(name)
	stem := strings.TrimSuffix(name, filepath.Ext(name))
	has := func(list []string, in func(string, string) bool, s string) bool {
		return slices.ContainsFunc(list, func(x string) bool { return in(s, x) })
	}
	return has(ignoredStarts, strings.HasPrefix, name) || has(ignoredEnds, strings.HasSuffix, name) ||
		has(ignoredMiddles, strings.HasSuffix, stem) || slices.Contains(ignoredNames, name) ||
		len(name) > 1 && strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") // emacs
}

// filter is what a root takes of what lies in it. Paths are relative to it.
type filter struct {
	flat             bool              // the folders below are not looked into
	include, exclude gitignore.Matcher // nil = everything, nothing
}

func newFilter(recursive bool, include, exclude []string) filter {
	return filter{!recursive, matcher(include), matcher(exclude)}
}

func matcher(patterns []string) gitignore.Matcher {
	if len(patterns) == 0 {
		return nil
	}
	parsed := make([]gitignore.Pattern, len(patterns))
	for i, p := range patterns {
		parsed[i] = gitignore.ParsePattern(p, nil)
	}
	return gitignore.NewMatcher(parsed)
}

// takes tells whether a file is one of those wanted.
func (f filter) takes(rel string) bool {
	parts := strings.Split(rel, "/")
	return (f.include == nil || f.include.Match(parts, false)) && (f.exclude == nil || !f.exclude.Match(parts, false)) &&
		(!f.flat || len(parts) == 1)
}

// enters tells whether a folder is looked into. As in git, nothing below an
// excluded folder can be taken back.
func (f filter) enters(rel string) bool {
	return rel == "." || !f.flat && (f.exclude == nil || !f.exclude.Match(strings.Split(rel, "/"), true))
}
