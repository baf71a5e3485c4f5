#include "photo_vips.h"

#include <stdint.h>
#include <string.h>
#include <vips/vips.h>
#include <webp/encode.h>

static void quiet(const gchar *d, GLogLevelFlags l, const gchar *m, gpointer u) {
}

int mp_init(int threads) {
	if (VIPS_INIT("restored"))
		return -1;
	/* Warnings of the decoders would go to stderr without a file's name. */
	g_log_set_handler("VIPS", G_LOG_LEVEL_WARNING | G_LOG_LEVEL_INFO | G_LOG_LEVEL_DEBUG, quiet, NULL);
	/* No operation is ever repeated here, and a cached one would keep
	 * pointers to memory that Go has taken back. */
	vips_cache_set_max(0);
	vips_block_untrusted_set(TRUE);
	vips_concurrency_set(threads);
	return 0;
}

void mp_shutdown(void) {
	vips_shutdown();
}

size_t mp_tracked(void) {
	return vips_tracked_get_mem();
}

static VipsImage *load(int kind, const void *buf, size_t len, int strict) {
	VipsImage *im = NULL;
	void *b = (void *) buf;
	int on = strict ? VIPS_FAIL_ON_WARNING : VIPS_FAIL_ON_ERROR;
	int seq = VIPS_ACCESS_SEQUENTIAL;
	switch (kind) {
	case MP_JPEG:
		vips_jpegload_buffer(b, len, &im, "access", seq, "fail_on", on, NULL);
		break;
	case MP_PNG:
		vips_pngload_buffer(b, len, &im, "access", seq, "fail_on", on, NULL);
		break;
	case MP_TIFF:
		vips_tiffload_buffer(b, len, &im, "access", seq, "fail_on", on, NULL);
		break;
	case MP_WEBP:
		vips_webpload_buffer(b, len, &im, "access", seq, "fail_on", on, NULL);
		break;
	case MP_HEIF:
		vips_heifload_buffer(b, len, &im, "access", seq, "fail_on", on, NULL);
		break;
	default:
		vips_error("restored", "unknown kind %d", kind);
	}
	return im;
}

static int depth_of(VipsImage *im) {
	switch (vips_image_get_format(im)) {
	case VIPS_FORMAT_UCHAR:
		return 8;
	case VIPS_FORMAT_USHORT:
		return 16;
	default:
		return 0;
	}
}

int mp_read_header(int kind, const void *buf, size_t len, mp_header *out) {
	VipsImage *im = load(kind, buf, len, 0);
	if (!im)
		return -1;
	out->width = vips_image_get_width(im);
	out->height = vips_image_get_height(im);
	out->bands = vips_image_get_bands(im);
	out->pages = vips_image_get_n_pages(im);
	out->depth = depth_of(im);
	out->interp = vips_image_get_interpretation(im);
	g_object_unref(im);
	vips_thread_shutdown();
	return 0;
}

int mp_read_blob(int kind, const void *buf, size_t len, const char *name, void **out, size_t *outlen) {
	VipsImage *im = load(kind, buf, len, 0);
	const void *data;
	size_t n;
	*out = NULL;
	if (!im)
		return -1;
	if (vips_image_get_typeof(im, name) && !vips_image_get_blob(im, name, &data, &n)) {
		*out = g_memdup2(data, n);
		*outlen = n;
	}
	g_object_unref(im);
	return 0;
}

int mp_srgb(void **out, size_t *len) {
	VipsBlob *blob;
	size_t n;
	if (vips_profile_load("srgb", &blob, NULL) || !blob)
		return -1;
	const void *data = vips_blob_get(blob, &n);
	*out = g_memdup2(data, n);
	*len = n;
	vips_area_unref(VIPS_AREA(blob));
	return 0;
}

/* One pixel: gray stays one band, anything else becomes R, G, B, A. */
#define PUT8(q, p) \
	switch (n) { \
	case 1: q[0] = q[1] = q[2] = p[0]; q[3] = 255; break; \
	case 2: q[0] = q[1] = q[2] = p[0]; q[3] = p[1]; break; \
	case 3: q[0] = p[0]; q[1] = p[1]; q[2] = p[2]; q[3] = 255; break; \
	default: memcpy(q, p, 4); \
	}

static inline void put16(uint8_t *q, const uint16_t *p, int n, int out) {
	uint16_t v[4] = { p[0], p[0], p[0], 65535 };
	if (n == 2)
		v[3] = p[1];
	if (n >= 3) {
		v[1] = p[1];
		v[2] = p[2];
	}
	if (n == 4)
		v[3] = p[3];
	for (int i = 0; i < out; i++) {
		q[2 * i] = v[i] >> 8;
		q[2 * i + 1] = v[i] & 255;
	}
}

static inline __attribute__((always_inline)) void run8(uint8_t *q, const uint8_t *p, int count, ptrdiff_t qs, ptrdiff_t ps, int n, int out) {
	if (out == 1)
		for (int i = 0; i < count; i++, q += qs, p += ps)
			*q = *p;
	else
		for (int i = 0; i < count; i++, q += qs, p += ps)
			PUT8(q, p)
}

static void run(uint8_t *q, const uint8_t *p, int count, ptrdiff_t qs, ptrdiff_t ps, int n, int out, int depth) {
	if (depth == 16) {
		for (int i = 0; i < count; i++, q += qs, p += ps)
			put16(q, (const uint16_t *) p, n, out);
		return;
	}
	if (out == 1 && qs == 1 && ps == 1)
		memcpy(q, p, count);
	else if (out == 4 && n == 3 && qs == 4 && ps == 3) /* the common case, with constants the compiler can use */
		run8(q, p, count, 4, 3, 3, 4);
	else
		run8(q, p, count, qs, ps, n, out);
}

/* Puts a strip where it belongs. A turned image is written column by column of
 * the strip, so that the target is touched in runs. */
static void put_strip(VipsRegion *r, uint8_t *dst, const mp_layout *l) {
	VipsRect *a = &r->valid;
	int n = r->im->Bands, depth = depth_of(r->im);
	ptrdiff_t px = VIPS_IMAGE_SIZEOF_PEL(r->im), ls = VIPS_REGION_LSKIP(r);
	const uint8_t *p0 = VIPS_REGION_ADDR(r, a->left, a->top);
	uint8_t *q0 = dst + l->origin + a->left * l->sx + a->top * l->sy;
	if (l->sx < -8 || l->sx > 8) {
		for (int x = 0; x < a->width; x++)
			run(q0 + x * l->sx, p0 + x * px, a->height, l->sy, ls, n, l->bands, depth);
	} else {
		for (int y = 0; y < a->height; y++)
			run(q0 + y * l->sy, p0 + y * ls, a->width, l->sx, px, n, l->bands, depth);
	}
}

/* Pulls the pixels through in this thread. libvips' own sinks run several,
 * and in 8.14 an error in the last strip sometimes got lost between them: a
 * truncated file then opened with a gray end, about once in thirty times. */
static int pull(VipsImage *im, uint8_t *dst, const mp_layout *l, volatile int *cancel) {
	VipsRegion *r = vips_region_new(im);
	int rc = r ? 0 : -1;
	/* Rows at a time: few, to stay within a cache; more to turn, for longer runs. */
	int strip = l->sx < -8 || l->sx > 8 ? 128 : 32;
	for (int y = 0; !rc && y < im->Ysize; y += strip) {
		VipsRect a = { 0, y, im->Xsize, VIPS_MIN(strip, im->Ysize - y) };
		rc = vips_region_prepare(r, &a);
		if (!rc && *cancel) {
			vips_error("restored", "cancelled");
			rc = -1;
		}
		if (!rc)
			put_strip(r, dst, l);
	}
	if (r)
		g_object_unref(r);
	return rc;
}

int mp_decode(int kind, const void *buf, size_t len, void *dst, const mp_layout *l, volatile int *cancel) {
	VipsImage *im = load(kind, buf, len, l->strict);
	if (!im)
		return -1;
	if (l->cmyk) {
		VipsImage *t;
		int deep = depth_of(im) == 16 ? 16 : 8;
		if (vips_icc_transform(im, &t, "srgb", "embedded", TRUE, "input_profile", "cmyk",
			    "intent", VIPS_INTENT_RELATIVE, "black_point_compensation", TRUE, "depth", deep, NULL)) {
			g_object_unref(im);
			return -1;
		}
		g_object_unref(im);
		im = t;
	}
	int rc = pull(im, dst, l, cancel);
	g_object_unref(im);
	vips_thread_shutdown();
	return rc;
}

static void on_eval(VipsImage *im, VipsProgress *p, volatile int *cancel) {
	if (*cancel)
		vips_image_set_kill(im, TRUE);
}

/* Replaces *im by the result of the operation, or fails. */
#define STEP(call) \
	do { \
		VipsImage *t = NULL; \
		if (call) \
			return -1; \
		g_object_unref(*im); \
		*im = t; \
	} while (0)

/* Undoes EXIF orientation o: upright pixels become the stored ones. */
static int turn_back(VipsImage **im, int o) {
	static const int angle[9] = { 0, 0, 0, VIPS_ANGLE_D180, 0, VIPS_ANGLE_D90, VIPS_ANGLE_D270, VIPS_ANGLE_D270, VIPS_ANGLE_D90 };
	if (o < 2 || o > 8)
		return 0;
	if (angle[o])
		STEP(vips_rot(*im, &t, angle[o], NULL));
	if (o == 2 || o == 5 || o == 7)
		STEP(vips_flip(*im, &t, VIPS_DIRECTION_HORIZONTAL, NULL));
	if (o == 4)
		STEP(vips_flip(*im, &t, VIPS_DIRECTION_VERTICAL, NULL));
	return 0;
}

static int prepare(VipsImage **im, const mp_format *f) {
	int interp = f->bands < 3 ? (f->depth == 16 ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_B_W)
				  : (f->depth == 16 ? VIPS_INTERPRETATION_RGB16 : VIPS_INTERPRETATION_sRGB);
	if (f->depth == 16 && G_BYTE_ORDER == G_LITTLE_ENDIAN)
		STEP(vips_byteswap(*im, &t, NULL));
	if (f->bands < f->bands_in)
		STEP(vips_extract_band(*im, &t, 0, "n", f->bands, NULL));
	STEP(vips_copy(*im, &t, "interpretation", interp, NULL));
	return turn_back(im, f->orientation);
}

/* libvips 8.14 has no switch for "exact", without which libwebp rewrites the
 * colour of fully transparent pixels. */
static int webp_exact(VipsImage *im, void **out, size_t *len) {
	WebPConfig c;
	WebPPicture p;
	WebPMemoryWriter w;
	size_t n;
	int ok;
	uint8_t *rgba = vips_image_write_to_memory(im, &n);
	if (!rgba)
		return -1;
	if (!WebPConfigInit(&c) || !WebPConfigLosslessPreset(&c, 6) || !WebPPictureInit(&p)) {
		g_free(rgba);
		vips_error("restored", "libwebp: version mismatch");
		return -1;
	}
	c.exact = 1;
	p.use_argb = 1;
	p.width = im->Xsize;
	p.height = im->Ysize;
	ok = WebPPictureImportRGBA(&p, rgba, p.width * 4);
	g_free(rgba);
	WebPMemoryWriterInit(&w);
	p.writer = WebPMemoryWrite;
	p.custom_ptr = &w;
	if (ok && WebPEncode(&c, &p)) {
		*out = g_memdup2(w.mem, w.size);
		*len = w.size;
	} else {
		ok = 0;
		vips_error("restored", "libwebp: error %d", p.error_code);
	}
	WebPMemoryWriterClear(&w);
	WebPPictureFree(&p);
	return ok ? 0 : -1;
}

static int save(VipsImage *im, const mp_format *f, void **out, size_t *len) {
	switch (f->kind) {
	case MP_JPEG:
		return vips_jpegsave_buffer(im, out, len, "Q", f->quality, "interlace", f->progressive,
			"subsample_mode", VIPS_FOREIGN_SUBSAMPLE_OFF, "strip", TRUE, NULL);
	case MP_PNG:
		return vips_pngsave_buffer(im, out, len, "compression", f->quality, "filter", f->predictor,
			"strip", TRUE, NULL);
	case MP_TIFF:
		return vips_tiffsave_buffer(im, out, len, "compression", f->compression, "Q", f->quality,
			"predictor", f->predictor, "tile", f->tile_w > 0, "tile_width", f->tile_w > 0 ? f->tile_w : 128,
			"tile_height", f->tile_h > 0 ? f->tile_h : 128, "bigtiff", f->bigtiff,
			"premultiply", f->premultiply, "lossless", f->lossless, "strip", TRUE, NULL);
	case MP_WEBP:
		if (f->lossless && f->bands == 4)
			return webp_exact(im, out, len);
		return vips_webpsave_buffer(im, out, len, "lossless", f->lossless, "Q", f->quality,
			"smart_subsample", TRUE, "strip", TRUE, NULL);
	case MP_HEIF: /* for the tests' inputs */
		return vips_heifsave_buffer(im, out, len, "Q", f->quality, "compression", f->compression,
			"lossless", f->lossless, "effort", 0, "bitdepth", f->depth == 16 ? 10 : 8, NULL);
	}
	vips_error("restored", "unknown kind %d", f->kind);
	return -1;
}

int mp_encode(const void *pix, const mp_format *f, void **out, size_t *len, volatile int *cancel) {
	size_t size = (size_t) f->width * f->height * f->bands_in * (f->depth / 8);
	VipsImage *im = vips_image_new_from_memory(pix, size, f->width, f->height, f->bands_in,
		f->depth == 16 ? VIPS_FORMAT_USHORT : VIPS_FORMAT_UCHAR);
	if (!im)
		return -1;
	VipsImage *base = im;
	g_object_ref(base);
	vips_image_set_progress(base, TRUE);
	g_signal_connect(base, "eval", G_CALLBACK(on_eval), (gpointer) cancel);
	int rc = prepare(&im, f);
	if (!rc)
		rc = save(im, f, out, len);
	g_object_unref(im);
	g_object_unref(base);
	vips_thread_shutdown();
	return rc;
}

int mp_preview(int kind, const void *buf, size_t len, int side, int quality, void **out, size_t *outlen, volatile int *cancel) {
	VipsImage *im = load(kind, buf, len, 0), *t = NULL;
	int rc = -1;
	if (!im)
		return -1;
	/* Without a profile the samples are taken as sRGB: to convert them would only move them. */
	int profile = vips_image_get_typeof(im, VIPS_META_ICC_NAME) || vips_image_get_interpretation(im) == VIPS_INTERPRETATION_CMYK;
	if (!(profile ? vips_thumbnail_image(im, &t, side, "height", side, "size", VIPS_SIZE_DOWN, "export_profile", "srgb", NULL)
			: vips_thumbnail_image(im, &t, side, "height", side, "size", VIPS_SIZE_DOWN, NULL))) {
		g_object_unref(im);
		im = t;
		rc = 0;
	}
	if (!rc) {
		rc = vips_colourspace(im, &t, VIPS_INTERPRETATION_sRGB, NULL);
		if (!rc) {
			g_object_unref(im);
			im = t;
		}
	}
	if (!rc && vips_image_hasalpha(im)) {
		double white[] = { 255, 255, 255 };
		VipsArrayDouble *back = vips_array_double_new(white, 3);
		rc = vips_flatten(im, &t, "background", back, NULL);
		vips_area_unref(VIPS_AREA(back));
		if (!rc) {
			g_object_unref(im);
			im = t;
		}
	}
	if (!rc) {
		vips_image_set_progress(im, TRUE);
		g_signal_connect(im, "eval", G_CALLBACK(on_eval), (void *) cancel);
		rc = vips_jpegsave_buffer(im, out, outlen, "Q", quality, "strip", TRUE, NULL);
	}
	g_object_unref(im);
	vips_thread_shutdown();
	return rc;
}
