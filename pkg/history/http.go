package history

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Prometheus reads a Prometheus, or what answers like one, over its HTTP API.
type Prometheus struct {
	url    string
	client *http.Client
}

// NewPrometheus reads the Prometheus at a URL, with a client that may authenticate.
func NewPrometheus(address string, client *http.Client) (*Prometheus, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is no address of a Prometheus: want one like http://prometheus.monitoring:9090", address)
	}
	return &Prometheus{url: strings.TrimSuffix(address, "/"), client: client}, nil
}

// Close does nothing.
func (p *Prometheus) Close() error { return nil }

// Query evaluates PromQL at a time and gives the samples of the series that it results in.
func (p *Prometheus) Query(ctx context.Context, query string, at time.Time) ([]Series, error) {
	form := url.Values{"query": {query}, "time": {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/api/v1/query", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := p.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus: %w: is it at that address (--prometheus)?", err)
	}
	defer response.Body.Close()
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Type   string `json:"resultType"`
			Result []struct {
				Metric map[string]string `json:"metric"`
				Values []sample          `json:"values"`
				Value  *sample           `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer of Prometheus: %w", err)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%s answers %s and no result: %w: is that a Prometheus?", p.url, response.Status, err)
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("the query %s: Prometheus answers %s: %s", query, response.Status, answer.Error)
	}
	var all []Series
	for _, r := range answer.Data.Result {
		if r.Value != nil {
			r.Values = []sample{*r.Value}
		}
		one := Series{Labels: r.Metric}
		for _, v := range r.Values {
			one.Times, one.Values = append(one.Times, v.at), append(one.Values, v.value)
		}
		all = append(all, one)
	}
	return all, nil
}

// sample is [seconds, "value"].
type sample struct {
	at    int64
	value float64
}

// UnmarshalJSON reads a sample as Prometheus writes it.
func (s *sample) UnmarshalJSON(data []byte) error {
	var pair [2]any
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	seconds, ok := pair[0].(float64)
	text, ok2 := pair[1].(string)
	if !ok || !ok2 {
		return fmt.Errorf("%s is no sample", data)
	}
	v, err := strconv.ParseFloat(text, 64)
	s.at, s.value = int64(seconds*1000+0.5), v
	return err
}
