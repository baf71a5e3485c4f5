package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// webpFile is a WebP without its pixels.
type webpFile struct {
	icc, exif, oldXMP []byte
	other             [][]byte // unknown chunks, whole
	lossless          bool
	orient            int
}

// Flags of the VP8X chunk (WebP container specification).
const (
	webpAnimation = 1 << 1
	webpXMP       = 1 << 2
	webpEXIF      = 1 << 3
	webpAlpha     = 1 << 4
	webpICC       = 1 << 5
)

// WebPQuality is the quality of lossy WebP outputs. A WebP doesn't say which
// quality made it.
const WebPQuality = 90

func parseWebP(b []byte) (*webpFile, error) {
	p := &webpFile{orient: 1}
	err := walkWebP(b, func(typ string, data, whole []byte) error {
		switch typ {
		case "VP8X":
			if len(data) < 10 {
				return fmt.Errorf("%w: WebP header is cut off", ErrDamaged)
			}
			if data[0]&webpAnimation != 0 {
				return fmt.Errorf("%w: animated WebP", ErrUnsupported)
			}
		case "ANIM", "ANMF":
			return fmt.Errorf("%w: animated WebP", ErrUnsupported)
		case "VP8L":
			p.lossless = true
		case "VP8 ", "ALPH":
		case "ICCP":
			p.icc = bytes.Clone(data)
		case "EXIF":
			x, tiff := bytes.Clone(data), 0
			if bytes.HasPrefix(x, []byte(sigEXIF)) { // not by the book, but met
				tiff = len(sigEXIF)
			}
			p.exif = x[:tiff+len(dropThumbnail(x[tiff:]))]
			p.orient = exifOrientation(p.exif[tiff:])
		case "XMP ":
			p.oldXMP = bytes.Clone(data)
		default:
			p.other = append(p.other, bytes.Clone(whole))
		}
		return nil
	})
	return p, err
}

// walkWebP calls f for each chunk; whole has head and padding.
func walkWebP(b []byte, f func(typ string, data, whole []byte) error) error {
	if len(b) < 12 {
		return fmt.Errorf("%w: WebP header is cut off", ErrDamaged)
	}
	if end := int64(binary.LittleEndian.Uint32(b[4:])) + 8; end > int64(len(b)) {
		return fmt.Errorf("%w: WebP of %d bytes should have %d", ErrDamaged, len(b), end)
	} else if end >= 12 {
		b = b[:end]
	}
	for pos := 12; len(b)-pos >= 8; {
		n := int64(binary.LittleEndian.Uint32(b[pos+4:]))
		if n > int64(len(b)-pos-8) {
			return fmt.Errorf("%w: WebP chunk at byte %d is cut off", ErrDamaged, pos)
		}
		end := pos + 8 + int(n)
		next := min(end+int(n&1), len(b))
		if err := f(string(b[pos:pos+4]), b[pos+8:end], b[pos:next]); err != nil {
			return err
		}
		pos = next
	}
	return nil
}

func (p *webpFile) orientation() int { return p.orient }
func (p *webpFile) xmp() []byte      { return p.oldXMP }

func (p *webpFile) encoding() encoding {
	return encoding{kind: kindWebP, quality: WebPQuality, lossless: p.lossless}
}

func (p *webpFile) write(w io.Writer, encoded []byte, x patch) error {
	icc, xmp := p.icc, p.oldXMP
	if x.icc != nil {
		icc = x.icc
	}
	if x.xmp != nil {
		xmp = x.xmp
	}
	var pix [][]byte
	var flags byte
	head := make([]byte, 10)
	err := walkWebP(encoded, func(typ string, data, whole []byte) error {
		switch typ {
		case "VP8X":
			flags |= data[0] & webpAlpha
			copy(head[4:], data[4:10])
			return nil
		case "VP8 ":
			putWebPSize(head, int(binary.LittleEndian.Uint16(data[6:])&0x3fff), int(binary.LittleEndian.Uint16(data[8:])&0x3fff))
		case "VP8L":
			v := binary.LittleEndian.Uint32(data[1:])
			putWebPSize(head, int(v&0x3fff)+1, int(v>>14&0x3fff)+1)
			flags |= byte(v>>28&1) * webpAlpha
		case "ALPH":
		default:
			return nil
		}
		pix = append(pix, whole)
		return nil
	})
	if err != nil {
		return err
	}
	chunks := pix
	if icc != nil || xmp != nil || p.exif != nil || p.other != nil || flags&webpAlpha != 0 {
		chunks = nil
		add := func(typ string, data []byte, flag byte) {
			if data != nil {
				flags |= flag
				chunks = append(chunks, webpChunk(typ, data))
			}
		}
		add("ICCP", icc, webpICC)
		chunks = append(chunks, pix...)
		add("EXIF", p.exif, webpEXIF)
		add("XMP ", xmp, webpXMP)
		chunks = append(chunks, p.other...)
		head[0] = flags
		chunks = append([][]byte{webpChunk("VP8X", head)}, chunks...)
	}
	size := 4
	for _, c := range chunks {
		size += len(c) + len(c)&1
	}
	riff := append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(size)), "WEBP"...)
	for _, c := range append([][]byte{riff}, chunks...) {
		if _, err := w.Write(c); err != nil {
			return err
		}
		if len(c)&1 == 1 {
			if _, err := w.Write([]byte{0}); err != nil {
				return err
			}
		}
	}
	return nil
}

// putWebPSize puts the canvas size into the payload of a VP8X chunk.
func putWebPSize(b []byte, w, h int) {
	for i, v := range []int{w - 1, h - 1} {
		b[4+3*i], b[5+3*i], b[6+3*i] = byte(v), byte(v>>8), byte(v>>16)
	}
}

func webpChunk(typ string, data []byte) []byte {
	b := append(binary.LittleEndian.AppendUint32([]byte(typ), uint32(len(data))), data...)
	return append(b, make([]byte, len(b)&1)...)
}
