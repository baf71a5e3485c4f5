package web

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// tryBurst is how many wrong tokens may come from an address at once, and
	// tryEvery how long it takes until one more may.
	tryBurst = 10
	tryEvery = 10 * time.Second
	// maxTriers bounds the addresses that are remembered.
	maxTriers = 4096
)

// tries counts wrong tokens by the addresses from which they come. Who has tried
// too often isn't listened to for a while, whatever the token; sessions go on.
type tries struct {
	mu   sync.Mutex
	from map[netip.Prefix]*rate.Limiter
}

// limiter is that of a request's address; of IPv6 that of its network, which is
// one customer's.
func (t *tries) limiter(r *http.Request) *rate.Limiter {
	bits := 64
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	ip := at.Addr().Unmap()
	if ip.Is4() {
		bits = 32
	}
	from, prefixErr := ip.Prefix(bits)
	if err != nil || prefixErr != nil {
		from = netip.Prefix{} // all that can't be told apart
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.from[from]
	if l == nil {
		if t.from == nil || len(t.from) >= maxTriers {
			t.from = map[netip.Prefix]*rate.Limiter{}
		}
		l = rate.NewLimiter(rate.Every(tryEvery), tryBurst)
		t.from[from] = l
	}
	return l
}

// refuseTries answers who has tried too often.
func refuseTries(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "60")
	refuse(w, http.StatusTooManyRequests, "too many wrong tokens have come from this address: wait a minute")
}
