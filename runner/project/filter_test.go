package project

import (
	"strings"
	"testing"

	"github.com/tmnotes/tmnotes/runner"
)

func TestParseFilter(t *testing.T) {
	t.Parallel()
	stacks := []runner.Stack{
		{Path: "/prod/vpc", Tags: []string{"eu", "net"}}, {Path: "/prod/eu/db", Tags: []string{"eu"}}, {Path: "/dev", Tags: []string{"canary"}},
		{Path: "/dev/{a}", Tags: []string{"us"}}, {Path: "/"},
	}
	for _, tc := range []struct{ filter, want string }{
		{"tag:eu", "/prod/vpc /prod/eu/db"},
		{"tag:eu:net", "/prod/vpc"},
		{"tag:canary,net", "/prod/vpc /dev"},
		{"tag:unknown", ""},
		{"/prod/*", "/prod/vpc"},
		{"/prod/**", "/prod/vpc /prod/eu/db"},
		{"**/db", "/prod/eu/db"},
		{"/dev", "/dev"},
		{"/dev/{a}", "/dev/{a}"}, // braces are no pattern to Terramate
		{"/dev/{a,b}", ""},
		{"*", "/prod/vpc /prod/eu/db /dev /dev/{a} /"},
		{"tag:", "error"}, {"tag:No Tag", "error"}, {"canary", "error"}, {"", "error"}, {"/[", "error"},
	} {
		match, err := ParseFilter(tc.filter)
		if tc.want == "error" {
			if err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: %v", tc.filter, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tc.filter, err)
			continue
		}
		var got []string
		for _, s := range stacks {
			if match(s) {
				got = append(got, s.Path)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%q matches %v, want %s", tc.filter, got, tc.want)
		}
	}
}
