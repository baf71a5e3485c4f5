package media

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/asticode/go-astiav"
)

// provenanceKey is the tag of a container that says how its pictures were made.
const provenanceKey = "DigitalSourceType"

// itunesKeys are FFmpeg's names of the tags that iTunes' list has items for.
var itunesKeys = map[string]bool{}

// holderKeys are those of them whose item may hold the place of others' tags.
var holderKeys = []string{"synopsis", "keywords", "network", "grouping", "lyrics"}

func init() {
	for k := range strings.FieldsSeq("title artist album_artist composer album date encoder comment genre copyright grouping lyrics " +
		"description synopsis show episode_id network keywords episode_sort season_number media_type hd_video gapless_playback " +
		"compilation track disc tmpo location location-eng creation_time language") {
		itunesKeys[k] = true
	}
}

// freeTags are tags of an MP4 file without an item of their own in iTunes'
// list. FFmpeg writes such tags into another list only, which leaves no room
// for covers and which other players don't read. So it is given one tag of the
// same size, and once the file is written, that item becomes items "----" of
// the form that iTunes has for tags with names.
type freeTags struct {
	holder string // the tag that holds the place
	items  []byte
}

// takeFreeTags removes the tags that need it from the container's and puts the
// holder of their place in.
func takeFreeTags(fc *astiav.FormatContext) (*freeTags, error) {
	tags := entries(fc.Metadata())
	t := &freeTags{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		if itunesKeys[k] || tags[k] == "" {
			continue
		}
		t.items = append(t.items, freeTag(k, tags[k])...)
		if err := setDict(fc, k, ""); err != nil {
			return nil, err
		}
	}
	if t.items == nil {
		return nil, nil
	}
	for _, k := range holderKeys {
		if _, used := tags[k]; !used {
			t.holder = k
			return t, setDict(fc, k, strings.Repeat("-", len(t.items)-holderSize))
		}
	}
	return nil, fmt.Errorf("no room for %d bytes of tags", len(t.items))
}

// holderSize is what an item takes beside its text.
const holderSize = 24

// freeTag is an item "----" of iTunes' list.
func freeTag(key, value string) []byte {
	mean := box("mean", append(make([]byte, 4), "com.apple.iTunes"...))
	name := box("name", append(make([]byte, 4), key...))
	data := box("data", append([]byte{0, 0, 0, 1, 0, 0, 0, 0}, value...))
	return box("----", slices.Concat(mean, name, data))
}

func box(kind string, content []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(content)))
	return append(append(b, kind...), content...)
}

// put writes the items into a finished file.
func (t *freeTags) put(f *os.File) error {
	from, to, err := findBoxes(f, "moov", "udta", "meta", "ilst")
	if err != nil || from == to {
		return fmt.Errorf("find the list of tags: %w", err)
	}
	for from < to {
		size, _, err := boxAt(f, from, to)
		if err != nil {
			return err
		}
		b := make([]byte, min(size, holderSize+1))
		if _, err := f.ReadAt(b, from); err != nil {
			return err
		}
		if size == int64(len(t.items)) && len(b) > holderSize && b[holderSize] == '-' && string(b[12:16]) == "data" {
			_, err := f.WriteAt(t.items, from)
			return err
		}
		from += size
	}
	return fmt.Errorf("the tag %s isn't in the file", t.holder)
}

// boxAt reads a box's head: its whole size and its kind.
func boxAt(f io.ReaderAt, at, end int64) (size int64, kind string, err error) {
	var h [16]byte
	if n, err := f.ReadAt(h[:], at); n < 8 {
		return 0, "", err
	}
	size = int64(binary.BigEndian.Uint32(h[:]))
	switch size {
	case 0:
		size = end - at
	case 1:
		size = int64(min(binary.BigEndian.Uint64(h[8:]), 1<<62))
	}
	if size < 8 || size > end-at {
		return 0, "", fmt.Errorf("%w: a box of %d bytes at %d", ErrDamaged, size, at)
	}
	return size, string(h[4:8]), nil
}

// findBoxes goes into boxes within boxes and returns where the content of the
// last lies, or 0, 0 where there is none.
func findBoxes(f *os.File, path ...string) (from, to int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	from, to = 0, st.Size()
	for i, want := range path {
		at, found := from, false
		for at+8 <= to && !found {
			size, kind, err := boxAt(f, at, to)
			if err != nil {
				return 0, 0, err
			}
			if found = kind == want; found {
				from, to = at+8, at+size
				if kind == "meta" {
					from += 4
				}
				break
			}
			at += size
		}
		if !found {
			return 0, 0, nil
		}
		_ = i
	}
	return from, to, nil
}

// xmpUUID names the box of an MP4 file that holds XMP.
const xmpUUID = "\xbe\x7a\xcf\xcb\x97\xa9\x42\xe8\x9c\x71\x99\x94\x91\xe3\xaf\xac"

// maxXMP bounds the XMP that is read from a video.
const maxXMP = 16 << 20

// readXMP is the XMP of an MP4 or QuickTime file, or nil.
func readXMP(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	for at := int64(0); at+8 <= st.Size(); {
		size, kind, err := boxAt(f, at, st.Size())
		if err != nil {
			return nil, nil // a truncated file may hold all the rest
		}
		if kind == "uuid" && size > 24 && size < maxXMP {
			b := make([]byte, size-8)
			if _, err := f.ReadAt(b, at+8); err != nil {
				return nil, err
			}
			if string(b[:16]) == xmpUUID {
				return b[16:], nil
			}
		}
		at += size
	}
	from, to, err := findBoxes(f, "moov", "udta", "XMP_")
	if err != nil || to-from < 1 || to-from > maxXMP {
		return nil, nil
	}
	b := make([]byte, to-from)
	_, err = f.ReadAt(b, from)
	return b, err
}

// putXMP adds a box with XMP to the end of an MP4 or QuickTime file.
func putXMP(f *os.File, xmp []byte) error {
	if len(xmp) == 0 {
		return nil
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(box("uuid", append([]byte(xmpUUID), xmp...)), end)
	return err
}
