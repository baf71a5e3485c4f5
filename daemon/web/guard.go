package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	cookieName = "restored"
	cookieTime = 30 * 24 * time.Hour
)

// policy is what a browser may do with the page: its own files only, nothing
// inline, no frame around it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard refuses requests under a foreign name (a page elsewhere whose name was
// made to point here) and those that a page elsewhere has made, and gives every
// answer the headers that keep it to the page.
func (s *Server) guard(next http.Handler) http.Handler {
	crossSite := http.NewCrossOriginProtection()
	crossSite.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusForbidden, "this request came from another site")
	}))
	next = crossSite.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !s.knownHost(r.Host) {
			refuse(w, http.StatusMisdirectedRequest, "this is no name of this machine: add it to http.hosts, or open the page by its address")
			return
		}
		if !isUpload(r) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		next.ServeHTTP(w, r)
	})
}

// knownHost tells whether a Host is this machine: localhost, its addresses, or
// a name of the configuration.
func (s *Server) knownHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || slices.Contains(s.opt.Hosts, host) {
		return true
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if err != nil {
		return false
	}
	at, err := netip.ParseAddrPort(s.Addr())
	// A page elsewhere is never reached under an address of this machine, and so
	// any will do where all are listened on.
	return ip.IsLoopback() || err == nil && (at.Addr().IsUnspecified() || ip.Unmap() == at.Addr().Unmap())
}

// private asks for the token: in the header Authorization, or by the cookie
// that login has set.
func (s *Server) private(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ok, tired := s.admitted(r)
		if tired {
			refuseTries(w)
			return
		}
		if !ok {
			refuseToken(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func refuseToken(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="restored"`)
	refuse(w, http.StatusUnauthorized, "the token of http.token is needed")
}

// admitted tells whether a request may pass; tired = too many wrong tokens have
// come from there.
func (s *Server) admitted(r *http.Request) (ok, tired bool) {
	if s.opt.Token == "" {
		return true, false
	}
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return s.isToken(r, token)
	}
	cookie, err := r.Cookie(cookieName)
	return err == nil && subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(s.session())) == 1, false
}

func (s *Server) isToken(r *http.Request, token string) (ok, tired bool) {
	from := s.tries.limiter(r)
	if from.Tokens() < 1 {
		return false, true
	}
	if ok = subtle.ConstantTimeCompare([]byte(strings.TrimSpace(token)), []byte(s.opt.Token)) == 1; !ok {
		from.Allow() // one less
	}
	return ok, false
}

// session is the cookie's value: another token makes it void.
func (s *Server) session() string {
	mac := hmac.New(sha256.New, []byte(s.opt.Token))
	mac.Write([]byte("restored session"))
	return hex.EncodeToString(mac.Sum(nil))
}

// login sets the cookie for who knows the token.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	token := r.PostFormValue("token")
	ok, tired := s.isToken(r, token)
	if tired {
		refuseTries(w)
		return
	}
	if s.opt.Token == "" || !ok {
		refuse(w, http.StatusUnauthorized, "this isn't the token of http.token")
		return
	}
	http.SetCookie(w, s.cookie(r, s.session(), cookieTime))
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, s.cookie(r, "", -time.Second))
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) cookie(r *http.Request, value string, age time.Duration) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: int(age.Seconds()), HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
		// Before a proxy with TLS the browser says so.
		Secure: strings.HasPrefix(r.Header.Get("Origin"), "https:"),
	}
}
