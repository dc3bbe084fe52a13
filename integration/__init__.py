"""Tests of bxhealth against real BuildKit, and the testbed that they run on."""
