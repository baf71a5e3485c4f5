package media

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// TIFF tags by name (TIFF 6.0, TIFF/EP, DNG, Photoshop).
const (
	tagNewSubfile  = 254
	tagCompression = 259
	tagPhotometric = 262
	tagPredictor   = 317
	tagTileWidth   = 322
	tagTileLength  = 323
	tagSubIFDs     = 330
	tagExtra       = 338
	tagJPEGTables  = 347
	tagXMP         = 700
	tagEXIF        = 34665
	tagICC         = 34675
	tagGPS         = 34853
	tagLayers      = 37724
	tagInterop     = 40965
	tagDNGVersion  = 50706
)

// Tags that describe how pixels are stored: the encoder's count, not the source's.
var tiffCoding = map[uint16]bool{
	255: true, 256: true, 257: true, 258: true, tagCompression: true, tagPhotometric: true, 266: true, 273: true, 277: true,
	278: true, 279: true, 280: true, 281: true, 284: true, 288: true, 289: true, 290: true, 291: true, 292: true, 293: true,
	tagPredictor: true, 320: true, tagTileWidth: true, tagTileLength: true, 324: true, 325: true, tagSubIFDs: true, tagExtra: true,
	339: true, tagJPEGTables: true, 512: true, 513: true, 514: true, 515: true, 517: true, 518: true, 519: true, 520: true,
	521: true, 529: true, 530: true, 531: true, 532: true, tagLayers: true,
}

// Tags that describe inks, gone with a CMYK's conversion.
var tiffInks = map[uint16]bool{301: true, 332: true, 333: true, 334: true, 336: true, 337: true, tagICC: true}

// libvips' numbers for TIFF compressions (VipsForeignTiffCompression).
const (
	vipsNone = iota
	vipsJPEG
	vipsDeflate
	vipsPackbits
	_
	vipsLZW
	vipsWebP
	vipsZstd
)

// tiffFile is a TIFF without its pixels.
type tiffFile struct {
	entries []tiffEntry // kept ones, values in order's byte order
	order   byteOrder
	enc     encoding
	orient  int
	oldXMP  []byte
}

func parseTIFF(b []byte, i *Info) (*tiffFile, error) {
	t, err := newTIFF(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	entries, next, err := t.ifd(t.first)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if next != 0 {
		return nil, fmt.Errorf("%w: TIFF of several pages (split it, or convert the page wanted)", ErrUnsupported)
	}
	p := &tiffFile{order: t.order, orient: 1, enc: encoding{kind: kindTIFF, predictor: 1, bigTIFF: t.big, quality: 90}}
	for _, e := range entries {
		if err := p.look(t, e, i); err != nil {
			return nil, err
		}
		if tiffCoding[e.tag] {
			continue
		}
		p.entries = append(p.entries, t.clone(e, 0))
	}
	if t.spent > len(b) {
		return nil, fmt.Errorf("%w: TIFF directory holds more than the file", ErrDamaged)
	}
	return p, nil
}

// look takes from a tag how the pixels are stored, and refuses what can't be kept.
func (p *tiffFile) look(t *tiffTree, e tiffEntry, i *Info) error {
	n := int(t.num(e))
	switch e.tag {
	case tagDNGVersion:
		return fmt.Errorf("%w: camera raw (DNG)", ErrUnsupported)
	case tagSubIFDs:
		return fmt.Errorf("%w: TIFF with pictures inside it (pyramid or camera raw)", ErrUnsupported)
	case tagNewSubfile:
		if n&1 != 0 {
			return fmt.Errorf("%w: camera raw, or a TIFF that holds a preview only", ErrUnsupported)
		}
	case tagPhotometric:
		if n == 32803 || n == 34892 {
			return fmt.Errorf("%w: camera raw", ErrUnsupported)
		}
		if n == 3 {
			i.note("palette expanded to full colours")
		}
		if n == 0 {
			i.note("white-is-zero turned to black-is-zero")
		}
	case 258:
		if n < 8 {
			i.note(fmt.Sprintf("%d-bit samples widened to 8 bits", n))
		}
	case tagCompression:
		p.compression(n, i)
	case tagPredictor:
		p.enc.predictor = min(max(n, 1), 2)
	case tagTileWidth:
		p.enc.tileW = tileSide(n)
	case tagTileLength:
		p.enc.tileH = tileSide(n)
	case tagExtra:
		if p.enc.premultiply = n == 1; p.enc.premultiply {
			i.note("premultiplied alpha: colours of transparent pixels are rounded")
		}
	case tagJPEGTables:
		p.enc.quality = tableQuality(e.val)
	case tagOrientation:
		if n >= 1 && n <= 8 {
			p.orient = n
		}
	case tagXMP:
		p.oldXMP = bytes.Clone(e.val)
	case tagLayers:
		i.note("Photoshop layers, which show the old pixels, dropped")
	}
	return nil
}

// tileSide is n if TIFF allows it for tiles; 0 means strips.
func tileSide(n int) int {
	if n <= 0 || n > 32768 || n%16 != 0 {
		return 0
	}
	return n
}

func (p *tiffFile) compression(n int, i *Info) {
	switch n {
	case 1:
		p.enc.compression = vipsNone
	case 5:
		p.enc.compression = vipsLZW
	case 6, 7:
		p.enc.compression = vipsJPEG
	case 8, 32946:
		p.enc.compression = vipsDeflate
	case 32773:
		p.enc.compression = vipsPackbits
	case 50000:
		p.enc.compression = vipsZstd
	case 50001:
		p.enc.compression, p.enc.lossless = vipsWebP, true
	default:
		p.enc.compression = vipsDeflate
		i.note(fmt.Sprintf("TIFF compression %d replaced by deflate", n))
	}
}

// tableQuality estimates the quality from the JPEG tables of a TIFF. Below 90
// libvips would subsample the colours.
func tableQuality(b []byte) int {
	var dqt []byte
	if len(b) > 2 {
		// The tables end without a scan, which is all that can go wrong.
		_, _ = walkJPEG(b, func(_ int, g segment) {
			if g.m == 0xdb {
				dqt = append(dqt, g.b...)
			}
		})
	}
	return max(jpegQuality(dqt), 90)
}

// clone copies an entry out of the file, and the directory it points to. It
// stops when it copied more than there is: entries may all point to one place.
func (t *tiffTree) clone(e tiffEntry, depth int) tiffEntry {
	if t.spent += 12 + len(e.val); t.spent > len(t.b) {
		e.val = nil
		return e
	}
	if depth < 2 && (e.tag == tagEXIF || e.tag == tagGPS || e.tag == tagInterop) {
		if sub, _, err := t.ifd(t.num(e)); err == nil {
			e.sub = []tiffEntry{}
			for _, s := range sub {
				e.sub = append(e.sub, t.clone(s, depth+1))
			}
		}
	}
	e.val = bytes.Clone(e.val)
	return e
}

func (p *tiffFile) orientation() int   { return p.orient }
func (p *tiffFile) xmp() []byte        { return p.oldXMP }
func (p *tiffFile) encoding() encoding { return p.enc }

// write appends a new directory, made of the encoder's tags on pixels and the
// source's others, to the encoded file, and points its header there.
func (p *tiffFile) write(w io.Writer, encoded []byte, x patch) error {
	t, err := newTIFF(encoded)
	if err != nil {
		return err
	}
	entries, _, err := t.ifd(t.first)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e tiffEntry) bool { return !tiffCoding[e.tag] })
	for _, e := range p.entries {
		if x.icc != nil && tiffInks[e.tag] || x.xmp != nil && e.tag == tagXMP {
			continue
		}
		entries = append(entries, reorder(e, p.order, t.order))
	}
	if x.icc != nil {
		entries = append(entries, tiffEntry{tag: tagICC, typ: 7, count: uint64(len(x.icc)), val: x.icc})
	}
	if x.xmp != nil {
		entries = append(entries, tiffEntry{tag: tagXMP, typ: 1, count: uint64(len(x.xmp)), val: x.xmp})
	}
	out := tiffWriter{order: t.order, big: t.big, base: len(encoded)}
	out.align()
	at := out.directory(entries)
	if t.big {
		t.order.PutUint64(encoded[8:], uint64(at))
	} else {
		if at > 1<<32-1 {
			return fmt.Errorf("%w: over 4 GiB as TIFF", ErrTooLarge)
		}
		t.order.PutUint32(encoded[4:], uint32(at))
	}
	if _, err := w.Write(encoded); err != nil {
		return err
	}
	_, err = w.Write(out.b)
	return err
}

// reorder gives an entry's numbers another byte order.
func reorder(e tiffEntry, from, to byteOrder) tiffEntry {
	if from == to {
		return e
	}
	n := tiffTypeSize[e.typ]
	if e.typ == 5 || e.typ == 10 {
		n = 4
	}
	val := bytes.Clone(e.val)
	for i := 0; i+n <= len(val); i += n {
		slices.Reverse(val[i : i+n])
	}
	e.val = val
	for i, s := range e.sub {
		if i == 0 {
			e.sub = slices.Clone(e.sub)
		}
		e.sub[i] = reorder(s, from, to)
	}
	return e
}

// tiffWriter lays directories out behind base bytes of a file.
type tiffWriter struct {
	order byteOrder
	big   bool
	base  int
	b     []byte
}

func (w *tiffWriter) align() {
	for (w.base+len(w.b))&7 != 0 {
		w.b = append(w.b, 0)
	}
}

// put appends n in the file's width for offsets and counts.
func (w *tiffWriter) put(b []byte, n uint64) []byte {
	if w.big {
		return w.order.AppendUint64(b, n)
	}
	return w.order.AppendUint32(b, uint32(n))
}

// directory writes entries and what they point to, and returns its offset.
func (w *tiffWriter) directory(entries []tiffEntry) int {
	slices.SortStableFunc(entries, func(a, b tiffEntry) int { return int(a.tag) - int(b.tag) })
	var dir []byte
	if w.big {
		dir = w.order.AppendUint64(dir, uint64(len(entries)))
	} else {
		dir = w.order.AppendUint16(dir, uint16(len(entries)))
	}
	width := len(w.put(nil, 0))
	for _, e := range entries {
		if e.sub != nil {
			e.typ, e.count = 4, 1
			if w.big {
				e.typ = 16
			}
			e.val = w.put(nil, uint64(w.directory(e.sub)))
		}
		dir = w.order.AppendUint16(dir, e.tag)
		dir = w.order.AppendUint16(dir, e.typ)
		dir = w.put(dir, e.count)
		if len(e.val) <= width {
			dir = append(append(dir, e.val...), make([]byte, width-len(e.val))...)
			continue
		}
		w.align()
		dir = w.put(dir, uint64(w.base+len(w.b)))
		w.b = append(w.b, e.val...)
	}
	w.align()
	at := w.base + len(w.b)
	w.b = append(w.b, w.put(dir, 0)...)
	return at
}
