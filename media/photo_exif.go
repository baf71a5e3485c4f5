package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// tiffTree reads the directories of a TIFF structure: a TIFF file, an EXIF
// block (without its "Exif\0\0") or an MPF index.
type tiffTree struct {
	b     []byte
	order byteOrder
	big   bool   // BigTIFF: 8-byte counts and offsets
	first uint64 // offset of the first directory
	spent int    // bytes that clone copied
}

type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// tiffEntry is one tag. val has the tree's byte order and lies in its bytes.
type tiffEntry struct {
	tag, typ uint16
	count    uint64
	val      []byte
	sub      []tiffEntry // of a pointer to a directory, when it is written anew
}

var tiffTypeSize = [...]int{1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

func newTIFF(b []byte) (*tiffTree, error) {
	t := &tiffTree{b: b}
	if len(b) < 8 {
		return nil, errors.New("TIFF header is cut off")
	}
	switch string(b[:2]) {
	case "II":
		t.order = binary.LittleEndian
	case "MM":
		t.order = binary.BigEndian
	default:
		return nil, errors.New("no TIFF header")
	}
	switch t.order.Uint16(b[2:]) {
	case 42:
		t.first = uint64(t.order.Uint32(b[4:]))
	case 43:
		if len(b) < 16 {
			return nil, errors.New("TIFF header is cut off")
		}
		t.big, t.first = true, t.order.Uint64(b[8:])
	default:
		return nil, errors.New("no TIFF header")
	}
	return t, nil
}

// ifd reads the directory at off and the offset of the next one. Entries whose
// type is unknown or whose value lies outside are left out.
func (t *tiffTree) ifd(off uint64) ([]tiffEntry, uint64, error) {
	head, width, tail := uint64(2), uint64(12), uint64(4)
	if t.big {
		head, width, tail = 8, 20, 8
	}
	size := uint64(len(t.b))
	if off < 8 || off > size || head > size-off {
		return nil, 0, fmt.Errorf("TIFF directory at byte %d is outside the data", off)
	}
	var n uint64
	if t.big {
		n = t.order.Uint64(t.b[off:])
	} else {
		n = uint64(t.order.Uint16(t.b[off:]))
	}
	start := off + head
	if n > 65535 || n*width > size-start {
		return nil, 0, fmt.Errorf("TIFF directory at byte %d is cut off", off)
	}
	var entries []tiffEntry
	for i := range n {
		if e, ok := t.entry(t.b[start+i*width : start+(i+1)*width]); ok {
			entries = append(entries, e)
		}
	}
	var next uint64
	if end := start + n*width; size-end >= tail {
		next = t.uint(t.b[end : end+tail])
	}
	return entries, next, nil
}

func (t *tiffTree) entry(b []byte) (tiffEntry, bool) {
	e := tiffEntry{tag: t.order.Uint16(b), typ: t.order.Uint16(b[2:])}
	field := b[8:12]
	e.count = uint64(t.order.Uint32(b[4:]))
	if t.big {
		field, e.count = b[12:20], t.order.Uint64(b[4:])
	}
	if int(e.typ) >= len(tiffTypeSize) || tiffTypeSize[e.typ] == 0 || e.count > uint64(len(t.b)) {
		return e, false
	}
	n := e.count * uint64(tiffTypeSize[e.typ])
	if n <= uint64(len(field)) {
		e.val = field[:n]
		return e, true
	}
	off := t.uint(field)
	if off > uint64(len(t.b)) || n > uint64(len(t.b))-off {
		return e, false
	}
	e.val = t.b[off : off+n]
	return e, true
}

// uint reads an unsigned number of 1, 2, 4 or 8 bytes.
func (t *tiffTree) uint(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(t.order.Uint16(b))
	case 4:
		return uint64(t.order.Uint32(b))
	case 8:
		return t.order.Uint64(b)
	}
	return 0
}

// num is an entry's first number; 0 for none.
func (t *tiffTree) num(e tiffEntry) uint64 {
	n := tiffTypeSize[e.typ]
	if n > len(e.val) || e.typ == 5 || e.typ == 10 {
		return 0
	}
	return t.uint(e.val[:n])
}

const (
	tagOrientation = 274
	tagThumbAt     = 0x201
	tagThumbLen    = 0x202
)

// exifOrientation reads the orientation of an EXIF block; 1 if it has no valid one.
func exifOrientation(b []byte) int {
	if _, v := findOrientation(b); v != 0 {
		return v
	}
	return 1
}

func findOrientation(b []byte) (field []byte, v int) {
	t, err := newTIFF(b)
	if err != nil {
		return nil, 0
	}
	entries, _, err := t.ifd(t.first)
	if err != nil {
		return nil, 0
	}
	for _, e := range entries {
		if e.tag == tagOrientation {
			if n := t.num(e); n >= 1 && n <= 8 {
				return e.val[:tiffTypeSize[e.typ]], int(n)
			}
		}
	}
	return nil, 0
}

// setUpright sets an EXIF block's orientation to 1 in place.
func setUpright(b []byte) {
	t, err := newTIFF(b)
	field, v := findOrientation(b)
	if err != nil || v == 0 {
		return
	}
	clear(field)
	if t.b[0] == 'I' {
		field[0] = 1
	} else {
		field[len(field)-1] = 1
	}
}

// dropThumbnail unlinks, in place, the thumbnail of an EXIF block, which shows
// the faces as they were, and blanks its pixels; everything else stays where
// it is. It returns the block, shorter if the thumbnail was its end.
func dropThumbnail(b []byte) []byte {
	t, err := newTIFF(b)
	if err != nil || t.big {
		return b
	}
	_, next, err := t.ifd(t.first)
	if err != nil || next == 0 {
		return b
	}
	entries, _, err := t.ifd(next)
	if err != nil {
		return b
	}
	var at, n uint64
	for _, e := range entries {
		switch e.tag {
		case tagThumbAt:
			at = t.num(e)
		case tagThumbLen:
			n = t.num(e)
		}
	}
	link := t.first + 2 + 12*uint64(t.order.Uint16(b[t.first:]))
	t.order.PutUint32(b[link:], 0)
	if end := at + n; at >= link+4 && end <= uint64(len(b)) && bytes.HasPrefix(b[at:end], []byte{0xff, 0xd8}) {
		clear(b[at:end])
		if end == uint64(len(b)) && at > next {
			b = b[:at]
		}
	}
	return b
}
