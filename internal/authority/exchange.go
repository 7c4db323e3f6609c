package authority

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// queryTimeout bounds one question to one server over one protocol.
	queryTimeout = 3 * time.Second

	// udpSize is the largest answer over UDP that no network fragments
	// (https://www.dnsflagday.net/2020/).
	udpSize = 1232
)

// Exchange asks one server, "<host>:<port>", over UDP, and over TCP if the answer
// doesn't fit; 3 s at most each. The answer may be an error code, see [Successful];
// any other one is complete and repeats the question.
func Exchange(ctx context.Context, server, name string, rrtype uint16, recurse bool) (*dns.Msg, error) {
	query := new(dns.Msg).SetQuestion(name, rrtype)
	query.RecursionDesired = recurse
	query.SetEdns0(udpSize, false)
	r, err := exchangeOver(ctx, "udp", server, query)
	if err == nil && r.Truncated {
		r, err = exchangeOver(ctx, "tcp", server, query)
		if err == nil && r.Truncated {
			err = errors.New("its answer is truncated over TCP")
		}
	}
	// A network error's text has the local port, another one each time.
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func exchangeOver(ctx context.Context, network, server string, query *dns.Msg) (*dns.Msg, error) {
	limited, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	client := &dns.Client{Net: network, Timeout: queryTimeout, UDPSize: udpSize}
	conn, err := client.DialContext(limited, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The client minds the deadline of a context, but not its end.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r, _, err := client.ExchangeWithConnContext(limited, query, conn)
	if err != nil {
		return nil, err
	}
	if !r.Response {
		return nil, errors.New("it answered another question")
	}
	if Successful(r) != nil {
		return r, nil // an error may come without the question
	}
	if len(r.Question) != 1 || r.Question[0].Qtype != query.Question[0].Qtype ||
		!strings.EqualFold(r.Question[0].Name, query.Question[0].Name) {
		return nil, errors.New("it answered another question")
	}
	return r, nil
}
