"""Does a running Order or User service keep the contract that Payment relies on?"""
