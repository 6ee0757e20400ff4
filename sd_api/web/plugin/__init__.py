"""The dialect of the Photoshop plugin: forms in, base64 pictures out."""
