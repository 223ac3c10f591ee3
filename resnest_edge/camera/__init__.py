"""Engines behind cameras: sources of frames, the stream that batches them into a session, and sinks for the answers."""
