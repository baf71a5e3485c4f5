package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/asticode/go-astiav"
)

// Tags of a segment's file. NUT keeps no timestamps below zero, so they are
// stored from the first picture's on.
const (
	segmentFirst    = "restored_first"    // timestamp of the first picture
	segmentEncoding = "restored_encoding" // Encoding.sum
)

// sum identifies what shapes the bytes of a segment.
func (e *Encoding) sum() string {
	c := *e
	c.Muxer, c.Extension, c.Kept, c.Streams, c.Notes = "", "", false, nil, nil
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // it holds plain values only
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

// SegmentWriter encodes pictures into a file of their own, which JoinVideo
// takes. It belongs to one goroutine.
type SegmentWriter struct {
	path, tmp string
	e         Encoding
	format    astiav.PixelFormat
	timeBase  astiav.Rational
	cc        *astiav.CodecContext
	fc        *astiav.FormatContext
	pb        *astiav.IOContext
	packet    *astiav.Packet
	conv      converter
	started   bool
	pts       []int64 // of all pictures, by their number
	written   int64   // packets
	bytes     int64
	done      bool
}

// CreateSegment starts a segment of v at path. Nothing appears there before
// Finish; the pictures lie in a temporary beside it. threads is how many
// the encoder may use where that doesn't change its output; libx264's
// output depends on its number of threads, which Encoding.Threads fixes.
func CreateSegment(path string, v *Video, e Encoding, threads int) (*SegmentWriter, error) {
	quiet()
	w := &SegmentWriter{path: path, e: e, format: astiav.FindPixelFormatByName(e.PixelFormat)}
	tb := v.Stream().TimeBase
	w.timeBase = astiav.NewRational(tb.Num, tb.Den)
	if err := w.open(threads); err != nil {
		w.Abort()
		return nil, fmt.Errorf("create segment %s: %w", path, err)
	}
	return w, nil
}

func (w *SegmentWriter) open(threads int) (err error) {
	if w.timeBase.Num() < 1 || w.timeBase.Den() < 1 {
		return fmt.Errorf("time base %d/%d", w.timeBase.Num(), w.timeBase.Den())
	}
	if w.cc, err = w.e.open(threads); err != nil {
		return fmt.Errorf("open %s: %w", w.e.Encoder, err)
	}
	if w.packet = astiav.AllocPacket(); w.packet == nil {
		return errors.New("out of memory")
	}
	if w.tmp, err = newTemp(w.path); err != nil {
		return err
	}
	if w.fc, err = astiav.AllocOutputFormatContext(nil, "nut", ""); err != nil {
		return err
	}
	st := w.fc.NewStream(nil)
	if st == nil {
		return errors.New("out of memory")
	}
	if err = st.CodecParameters().FromCodecContext(w.cc); err != nil {
		return err
	}
	st.SetTimeBase(w.timeBase)
	w.pb, err = createFile(w.tmp)
	if err != nil {
		return err
	}
	w.fc.SetPb(w.pb)
	noShift(w.fc)
	return nil
}

// Write encodes the next picture. Pictures must come in the order of their
// timestamps. It keeps a reference to the picture's memory for a while but not
// p, which stays the caller's to release; its planes must not be changed any more.
func (w *SegmentWriter) Write(ctx context.Context, p *Picture) error {
	if err := w.write(ctx, p); err != nil {
		return fmt.Errorf("encode %s: %w", w.path, err)
	}
	return nil
}

func (w *SegmentWriter) write(ctx context.Context, p *Picture) error {
	if w.done {
		return errors.New("the segment is finished")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	src := p.native.frame
	if src == nil {
		return errors.New("the picture is released")
	}
	if src.Width() != w.e.Width || src.Height() != w.e.Height {
		return fmt.Errorf("%w: picture at %d is %d×%d, the video %d×%d", ErrUnsupported, p.PTS, src.Width(), src.Height(), w.e.Width, w.e.Height)
	}
	n := len(w.pts)
	if n > 0 && p.PTS <= w.pts[n-1] {
		return fmt.Errorf("picture at %d after one at %d", p.PTS, w.pts[n-1])
	}
	f, err := w.frame(src)
	if err != nil {
		return err
	}
	defer f.Free()
	prepareFrame(f, int64(n), w.format, n == 0)
	if w.e.SampleAspect.Den > 0 {
		f.SetSampleAspectRatio(w.cc.SampleAspectRatio())
	}
	w.pts = append(w.pts, p.PTS)
	for {
		err := w.cc.SendFrame(f)
		if err == nil {
			break
		}
		if !errors.Is(err, astiav.ErrEagain) {
			return nativeError(err)
		}
		if err := w.drain(); err != nil {
			return err
		}
	}
	return w.drain()
}

// frame is a frame over the picture's memory, or a converted one.
func (w *SegmentWriter) frame(src *astiav.Frame) (*astiav.Frame, error) {
	if !sameLayout(src.PixelFormat(), w.format) {
		f, err := w.conv.convert(src, w.format)
		if err != nil {
			return nil, fmt.Errorf("convert %s to %s: %w", src.PixelFormat(), w.format, err)
		}
		return f, nil
	}
	f := src.Clone()
	if f == nil {
		return nil, errors.New("out of memory")
	}
	return f, nil
}

// drain writes the packets that are ready.
func (w *SegmentWriter) drain() error {
	for {
		err := w.cc.ReceivePacket(w.packet)
		if errors.Is(err, astiav.ErrEagain) || errors.Is(err, astiav.ErrEof) {
			return nil
		}
		if err != nil {
			return nativeError(err)
		}
		if err := w.put(); err != nil {
			return err
		}
	}
}

func (w *SegmentWriter) put() error {
	defer w.packet.Unref()
	if !w.started {
		if err := errors.Join(
			setDict(w.fc, segmentFirst, strconv.FormatInt(w.pts[0], 10)),
			setDict(w.fc, segmentEncoding, w.e.sum()),
		); err != nil {
			return err
		}
		if err := w.fc.WriteHeader(nil); err != nil {
			return fmt.Errorf("write the header: %w", nativeError(err))
		}
		w.started = true
	}
	n := w.packet.Pts()
	if n < 0 || n >= int64(len(w.pts)) || w.packet.Dts() > n {
		return fmt.Errorf("%s made a packet of picture %d, having %d", w.e.Encoder, n, len(w.pts))
	}
	if w.written == 0 && !w.packet.Flags().Has(astiav.PacketFlagKey) {
		return fmt.Errorf("%s doesn't begin with a keyframe", w.e.Encoder)
	}
	if w.packet.Size() == 0 {
		return fmt.Errorf("%s made an empty packet", w.e.Encoder)
	}
	t := w.pts[n] - w.pts[0]
	st := w.fc.Streams()[0]
	w.packet.SetPts(t)
	// NUT doesn't keep the time of decoding, but wants it to ascend; the join makes it anew.
	if d := w.packet.Dts(); d >= 0 {
		w.packet.SetDts(w.pts[d] - w.pts[0])
	} else {
		w.packet.SetDts(d)
	}
	w.packet.SetDuration(0)
	w.packet.SetStreamIndex(0)
	w.packet.RescaleTs(w.timeBase, st.TimeBase())
	w.bytes += int64(w.packet.Size())
	if err := writeFrame(w.fc, w.packet); err != nil {
		return fmt.Errorf("write: %w", nativeError(err))
	}
	w.written++
	return nil
}

// Pictures is how many have been written so far.
func (w *SegmentWriter) Pictures() int64 { return int64(len(w.pts)) }

// Finish encodes what the encoder still holds and lets the file appear at its
// path, whole and on the disk. After an error the temporary is gone.
func (w *SegmentWriter) Finish(ctx context.Context) error {
	if w.done {
		return nil
	}
	err := w.finish(ctx)
	w.Abort() // what is left of a failure
	if err != nil {
		return fmt.Errorf("finish segment %s: %w", w.path, err)
	}
	return nil
}

func (w *SegmentWriter) finish(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(w.pts) == 0 {
		return errors.New("no picture was written")
	}
	if err := w.cc.SendFrame(nil); err != nil && !errors.Is(err, astiav.ErrEof) {
		return nativeError(err)
	}
	if err := w.drain(); err != nil {
		return err
	}
	if w.written != int64(len(w.pts)) {
		return fmt.Errorf("%s made %d packets of %d pictures", w.e.Encoder, w.written, len(w.pts))
	}
	if err := w.fc.WriteTrailer(); err != nil {
		return fmt.Errorf("write the end: %w", nativeError(err))
	}
	pb := w.pb
	w.pb = nil
	if err := closeFile(w.fc, pb); err != nil {
		return err
	}
	f, err := os.OpenFile(w.tmp, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := finish(f, nil); err != nil {
		f.Close()
		return fmt.Errorf("sync: %w", err)
	}
	if err := rename(w.tmp, w.path, true); err != nil {
		return err
	}
	w.tmp = ""
	return syncFolder(filepath.Dir(w.path))
}

// Abort ends the segment without a file, if it isn't finished. It may be called again.
func (w *SegmentWriter) Abort() {
	w.done = true
	if w.cc != nil {
		closeEncoder(w.cc, len(w.pts) > 0)
		w.cc = nil
	}
	if w.packet != nil {
		w.packet.Free()
		w.packet = nil
	}
	w.conv.Free()
	if w.pb != nil {
		w.pb.Close() //nolint:errcheck // of a file that is removed
		w.pb = nil
	}
	if w.fc != nil {
		w.fc.Free()
		w.fc = nil
	}
	if w.tmp != "" {
		os.Remove(w.tmp)
		w.tmp = ""
	}
}
